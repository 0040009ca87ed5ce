"""Writes a folder as a cpio archive of the kind the kernel unpacks at boot ("newc"), the same bytes every time.

Documentation/driver-api/early-userspace/buffer-format.rst. Not compressed: an emulated kernel reads it faster so.
"""

import os
import pathlib
import stat
from typing import BinaryIO


def write_cpio(root: pathlib.Path, archive: BinaryIO) -> None:
    paths = sorted(root.rglob("*"))
    for inode, path in enumerate(paths, start=1):
        _write_entry(archive, inode, str(path.relative_to(root)), path.lstat().st_mode, _content(path))
    _write_entry(archive, 0, "TRAILER!!!", 0, b"")


def _content(path: pathlib.Path) -> bytes:
    if path.is_symlink():
        return os.readlink(path).encode()
    return path.read_bytes() if path.is_file() else b""


def _write_entry(archive: BinaryIO, inode: int, name: str, mode: int, content: bytes) -> None:
    encoded = name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(mode) else 1
    #         inode, mode, uid, gid, links, mtime, size, device (2), special device (2), name's length, checksum
    fields = (inode, mode, 0, 0, links, 0, len(content), 0, 0, 0, 0, len(encoded), 0)
    archive.write(_padded(b"070701" + "".join(f"{field:08x}" for field in fields).encode() + encoded))
    archive.write(_padded(content))


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
