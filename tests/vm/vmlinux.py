"""Extracts the ELF kernel from a bzImage, which QEMU starts without the slow decompressor of the boot code."""

import lzma
import struct
import subprocess

# Documentation/arch/x86/boot.rst: offsets in the real-mode header.
_SETUP_SECTORS = 0x1F1
_HEADER_MAGIC = 0x202
_PAYLOAD_OFFSET = 0x248
_PAYLOAD_LENGTH = 0x24C
_SECTOR = 512


class KernelFormatError(Exception):
    pass


def extract_vmlinux(bzimage: bytes) -> bytes:
    if bzimage[_HEADER_MAGIC:_HEADER_MAGIC + 4] != b"HdrS":
        raise KernelFormatError("not a bzImage: no HdrS magic")
    setup_sectors = bzimage[_SETUP_SECTORS] or 4
    (offset,) = struct.unpack_from("<I", bzimage, _PAYLOAD_OFFSET)
    (length,) = struct.unpack_from("<I", bzimage, _PAYLOAD_LENGTH)
    start = (setup_sectors + 1) * _SECTOR + offset
    # The build appends the size of the result to the compressed stream.
    vmlinux = _decompress(bzimage[start:start + length - 4])
    if vmlinux[:4] != b"\x7fELF":
        raise KernelFormatError("the payload of the bzImage is not an ELF file")
    return vmlinux


def _decompress(payload: bytes) -> bytes:
    if payload.startswith(b"\xfd7zXZ\0"):
        return lzma.decompress(payload)
    if payload.startswith(b"\x28\xb5\x2f\xfd"):
        return subprocess.run(["zstd", "-dc"], input=payload, capture_output=True, check=True).stdout
    raise KernelFormatError(f"kernel compressed in an unknown way: {payload[:6].hex()}")
