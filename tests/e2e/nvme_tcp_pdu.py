"""NVMe/TCP PDUs as bytes (NVMe/TCP Transport 1.0, section 3.6), for a host that may also send wrong ones."""

import dataclasses
import struct

IC_REQ, IC_RESP, H2C_TERM, C2H_TERM, CAPSULE_CMD, CAPSULE_RESP, H2C_DATA, C2H_DATA, R2T = 0, 1, 2, 3, 4, 5, 6, 7, 9
NAMES = {IC_REQ: "ICReq", IC_RESP: "ICResp", H2C_TERM: "H2CTermReq", C2H_TERM: "C2HTermReq", CAPSULE_CMD: "CapsuleCmd",
         CAPSULE_RESP: "CapsuleResp", H2C_DATA: "H2CData", C2H_DATA: "C2HData", R2T: "R2T"}

HDGSTF, DDGSTF, LAST, SUCCESS = 1, 2, 4, 8  # flags
HEADER_DIGEST, DATA_DIGEST = 1, 2  # DGST of ICReq and ICResp

FATAL_ERRORS = {1: "Invalid PDU Header Field", 2: "PDU Sequence Error", 3: "Header Digest Error",
                4: "Data Transfer Out of Range", 5: "Data Transfer Limit Exceeded", 6: "Unsupported Parameter"}

SGL_IN_CAPSULE = 0x01  # data block, offset
SGL_TRANSPORT = 0x5A  # transport data block
PSDT_SGL = 0x40  # of the command's flags


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return table


_CRC_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


@dataclasses.dataclass
class Pdu:
    """One that was received."""

    type: int
    flags: int
    header: bytes  # HLEN bytes, the common header included
    data: bytes = b""
    digests_right: bool = True

    @property
    def name(self) -> str:
        return NAMES.get(self.type, f"type {self.type:#x}")

    def describe(self) -> str:
        if self.type == C2H_TERM:
            fes, fei = self.termination
            # Headers with a wrong digest come from Framing.encode().
            is_digest = fes == 3 and fei == crc32c(self.data) ^ 1
            return f"C2HTermReq: {FATAL_ERRORS.get(fes, fes)}, FEI {'the digest' if is_digest else fei}"
        if self.type == CAPSULE_RESP:
            return f"CapsuleResp: {Completion.of(self.header).status}"
        return self.name

    @property
    def termination(self) -> tuple[int, int]:
        """FES and FEI."""
        return struct.unpack_from("<HI", self.header, 8)


class Status:
    """Of a completion: compares with a number SCT << 8 | SC, whatever the DNR and CRD bits."""

    def __init__(self, field: int):
        self.code = field >> 1 & 0x7FF
        self.retry_delay = field >> 12 & 3
        self.do_not_retry = bool(field >> 15)

    def __bool__(self) -> bool:
        return self.code == 0

    def __eq__(self, other) -> bool:
        return self.code == (other.code if isinstance(other, Status) else other)

    def __repr__(self) -> str:
        name = STATUS_NAMES.get(self.code, "status")
        return f"{name} ({self.code >> 8}/{self.code & 0xFF:02X}h){', DNR' if self.do_not_retry else ''}"


STATUS_NAMES = {
    0x000: "Success", 0x001: "Invalid Opcode", 0x002: "Invalid Field", 0x003: "Command ID Conflict",
    0x004: "Data Transfer Error", 0x006: "Internal Error", 0x007: "Abort Requested", 0x008: "Aborted, SQ Deletion",
    0x009: "Aborted, Failed Fused", 0x00A: "Aborted, Missing Fused", 0x00B: "Invalid Namespace or Format",
    0x00C: "Command Sequence Error", 0x00F: "Data SGL Length Invalid", 0x011: "SGL Descriptor Type Invalid",
    0x016: "SGL Offset Invalid", 0x018: "Host Identifier Inconsistent Format", 0x01A: "Keep Alive Timeout Invalid",
    0x022: "Transient Transport Error", 0x080: "LBA Out of Range", 0x083: "Reservation Conflict",
    0x101: "Invalid Queue Identifier", 0x105: "AER Limit Exceeded", 0x109: "Invalid Log Page",
    0x10E: "Feature Not Changeable", 0x180: "Incompatible Format", 0x181: "Controller Busy",
    0x182: "Invalid Parameters", 0x183: "Command Size Limit Exceeded", 0x184: "Invalid Host", 0x285: "Compare Failure",
}


@dataclasses.dataclass
class Completion:
    dw0: int
    dw1: int
    sqhd: int
    cid: int
    status: Status
    data: bytes = b""

    @classmethod
    def of(cls, capsule_resp: bytes) -> "Completion":
        dw0, dw1, sqhd, _, cid, field = struct.unpack_from("<IIHHHH", capsule_resp, 8)
        return cls(dw0, dw1, sqhd, cid, Status(field))

    @property
    def value(self) -> int:
        """Of Property Get."""
        return self.dw0 | self.dw1 << 32


@dataclasses.dataclass
class Framing:
    """What both ends agreed on; how PDUs to the controller are put together."""

    header_digest: bool = False
    data_digest: bool = False
    alignment: int = 0  # CPDA of the ICResp

    def data_offset(self, hlen: int) -> int:
        unit = (self.alignment + 1) * 4
        return -(-(hlen + (4 if self.header_digest else 0)) // unit) * unit

    def encode(self, pdu_type: int, flags: int, body: bytes, data: bytes = b"", *, hlen: int | None = None,
               pdo: int | None = None, plen: int | None = None, spoil_header_digest: bool = False,
               spoil_data_digest: bool = False) -> bytes:
        """`body` is the header behind the common header. hlen, pdo and plen, when given, are what the header claims."""
        real_hlen = 8 + len(body)
        offset = self.data_offset(real_hlen) if data else real_hlen + (4 if self.header_digest else 0)
        total = offset + len(data) + (4 if data and self.data_digest else 0)
        if self.header_digest:
            flags |= HDGSTF
        if data and self.data_digest:
            flags |= DDGSTF
        out = struct.pack("<BBBBI", pdu_type, flags, real_hlen if hlen is None else hlen,
                          (offset if data else 0) if pdo is None else pdo, total if plen is None else plen) + body
        if self.header_digest:
            out += struct.pack("<I", crc32c(out) ^ (1 if spoil_header_digest else 0))
        out = out.ljust(offset, b"\0") + data
        if data and self.data_digest:
            out += struct.pack("<I", crc32c(data) ^ (1 if spoil_data_digest else 0))
        return out


def ic_req(*, pfv: int = 0, hpda: int = 0, digests: int = 0, maxr2t: int = 0, hlen: int = 128, plen: int = 128,
           pdu_type: int = IC_REQ) -> bytes:
    return struct.pack("<BBBBIHBBI", pdu_type, 0, hlen, 0, plen, pfv, hpda, digests, maxr2t).ljust(128, b"\0")


def sqe(opcode: int, cid: int, *, nsid: int = 0, flags: int = PSDT_SGL, sgl: tuple[int, int, int] = (0, 0, SGL_TRANSPORT),
        cdw2: int = 0, cdw3: int = 0, mptr: int = 0, cdw10: int = 0, cdw11: int = 0, cdw12: int = 0, cdw13: int = 0,
        cdw14: int = 0, cdw15: int = 0) -> bytes:
    """A submission queue entry; `sgl` is address (or offset), length and identifier."""
    address, length, identifier = sgl
    return struct.pack("<BBHIIIQQI3xBIIIIII", opcode, flags, cid, nsid, cdw2, cdw3, mptr, address, length, identifier,
                       cdw10, cdw11, cdw12, cdw13, cdw14, cdw15)


def h2c_data(framing: Framing, cccid: int, ttag: int, offset: int, data: bytes, *, last: bool = True,
             datal: int | None = None, **wrong) -> bytes:
    body = struct.pack("<HHII4x", cccid, ttag, offset, len(data) if datal is None else datal)
    return framing.encode(H2C_DATA, LAST if last else 0, body, data, **wrong)


def h2c_term(fes: int = 1, fei: int = 0, *, plen: int | None = None) -> bytes:
    return Framing().encode(H2C_TERM, 0, struct.pack("<HI10x", fes, fei), plen=plen)


def connect_data(host_id: bytes, subsystem: bytes, host_nqn: bytes, cntlid: int = 0xFFFF) -> bytes:
    return (host_id + struct.pack("<H", cntlid)).ljust(256, b"\0") + subsystem.ljust(256, b"\0") + \
        host_nqn.ljust(256, b"\0") + bytes(256)
