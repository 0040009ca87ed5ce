"""Cases of malformed PDUs; most of the table of docs/testing.md, "Bad input: PDUs"."""

import asyncio
import struct
from typing import Callable

from hostile_site import Case, Site, ic_resp_of, see_outcome, send_and_see
from nvme_tcp_host import WRITE, QueuePair
from nvme_tcp_pdu import (C2H_DATA, C2H_TERM, CAPSULE_CMD, CAPSULE_RESP, DATA_DIGEST, DDGSTF, HDGSTF,
                          HEADER_DIGEST, IC_RESP, R2T, Framing, h2c_data, h2c_term, ic_req, sqe)

# What was broken.
IC = "initialization"
HEADER = "PDU header"
SEQUENCE = "order of PDUs"
CAPSULE = "capsule size"
DIGESTS = "digests"
DATA = "data of an R2T"
TERMINATION = "a termination is not answered"

SEQUENCE_ERROR = "C2HTermReq: PDU Sequence Error, FEI 0; closed"
OUT_OF_RANGE = "C2HTermReq: Data Transfer Out of Range, FEI 0; closed"
TOO_MUCH = "C2HTermReq: Data Transfer Limit Exceeded, FEI 0; closed"


def invalid_field(offset: int) -> str:
    return f"C2HTermReq: Invalid PDU Header Field, FEI {offset}; closed"


def unsupported(offset: int) -> str:
    return f"C2HTermReq: Unsupported Parameter, FEI {offset}; closed"


PLAIN = Framing()
KEEP_ALIVE_SQE = sqe(0x18, 1)


def capsule(data: bytes = b"", command: bytes = KEEP_ALIVE_SQE, flags: int = 0, framing: Framing = PLAIN, **wrong) -> bytes:
    return framing.encode(CAPSULE_CMD, flags, command, data, **wrong)


def first(sent: str, demanded: str, source: str, data: bytes) -> Case:
    """As the first bytes of a connection."""
    async def run(site: Site) -> str:
        return await send_and_see(await site.raw(), data)
    return Case(sent + ", first", demanded, source, run)


def second(sent: str, demanded: str, source: str, data: bytes | Callable[[Framing], bytes], digests: int = 0) -> Case:
    """After ICReq and ICResp."""
    async def run(site: Site) -> str:
        connection = await site.initialized(digests=digests)
        return await send_and_see(connection, data if isinstance(data, bytes) else data(connection.framing))
    return Case(sent, demanded, source, run)


def accepted(sent: str, demanded: str, source: str, data: bytes) -> Case:
    """An ICReq with which a connection has to come up."""
    async def run(site: Site) -> str:
        connection = await site.raw()
        connection.send(data)
        answer = await connection.receive()
        connection.reset()
        return ic_resp_of(answer) if answer else "closed"
    return Case(sent, demanded, source, run)


def after_r2t(sent: str, demanded: str, source: str, answer: Callable[[QueuePair, int, int, int, bytes], None],
              digests: int = 0, size: int = 16384) -> Case:
    """A write whose R2T is answered by `answer(pair, cccid, ttag, offset, data)`; then what ends the queue."""
    async def run(site: Site) -> str:
        controller = await site.controller(digests=digests)
        pair = controller.io[0]
        pair.answer_r2t = lambda *fields: answer(pair, *fields)
        write = pair.command(WRITE, nsid=1, cdw10=0, cdw12=size // 512 - 1, data=bytes(size), by_r2t=True)
        return await see_outcome(controller, pair, write, closes=demanded.endswith("closed"))
    return Case(sent, demanded, source, run)


def r2t_cases() -> list[Case]:
    def send(pair: QueuePair, cccid: int, ttag: int, offset: int, data: bytes, **wrong) -> None:
        pair.send(h2c_data(pair.framing, cccid, ttag, offset, data, **wrong))

    half = 8192
    return [
        after_r2t("H2CData with another TTAG", invalid_field(10), DATA,
                  lambda pair, cid, ttag, at, data: send(pair, cid, ttag ^ 0x5555, at, data)),
        after_r2t("H2CData with another CCCID", invalid_field(8), DATA,
                  lambda pair, cid, ttag, at, data: send(pair, cid ^ 0x5555, ttag, at, data)),
        after_r2t("H2CData that starts behind the R2T's offset", OUT_OF_RANGE, DATA,
                  lambda pair, cid, ttag, at, data: send(pair, cid, ttag, at + 512, data)),
        after_r2t("H2CData longer than its R2T", OUT_OF_RANGE, DATA,
                  lambda pair, cid, ttag, at, data: send(pair, cid, ttag, at, data + bytes(512))),
        after_r2t("H2CData whose DATAL is not what PLEN leaves for data", invalid_field(16), DATA,
                  lambda pair, cid, ttag, at, data: send(pair, cid, ttag, at, data, datal=len(data) + 4)),
        after_r2t("H2CData with LAST_PDU in the middle of an R2T", invalid_field(1), DATA,
                  lambda pair, cid, ttag, at, data: send(pair, cid, ttag, at, data[:half], last=True)),
        after_r2t("H2CData without LAST_PDU at the end of an R2T", "Success (0/00h); connection goes on",
                  "receivers may ignore it", lambda pair, cid, ttag, at, data: send(pair, cid, ttag, at, data, last=False)),
        after_r2t("H2CData without data", invalid_field(4), DATA,
                  lambda pair, cid, ttag, at, data: send(pair, cid, ttag, at, b"", pdo=24)),
        after_r2t("the first half of an R2T twice", OUT_OF_RANGE, DATA, lambda pair, cid, ttag, at, data: (
            send(pair, cid, ttag, at, data[:half], last=False), send(pair, cid, ttag, at, data[:half], last=False))),
        after_r2t("H2CData for an R2T that was answered in full", "Success (0/00h); " + invalid_field(10), DATA,
                  lambda pair, cid, ttag, at, data: (
                      send(pair, cid, ttag, at, data), send(pair, cid, ttag, at, data))),
        after_r2t("H2CData with an HLEN of 28", invalid_field(2), HEADER,
                  lambda pair, cid, ttag, at, data: send(pair, cid, ttag, at, data, hlen=28)),
        after_r2t("H2CData with a PDO within its header", invalid_field(3), HEADER,
                  lambda pair, cid, ttag, at, data: send(pair, cid, ttag, at, data, pdo=20)),
        after_r2t("H2CData of more than MAXH2CDATA", TOO_MUCH, DATA, lambda pair, cid, ttag, at, data: send(
            pair, cid, ttag, at, bytes(pair.maxh2cdata + 4))),
        after_r2t("H2CData with a wrong data digest", "Transient Transport Error (0/22h); connection goes on", DIGESTS,
                  lambda pair, cid, ttag, at, data: send(pair, cid, ttag, at, data, spoil_data_digest=True),
                  digests=HEADER_DIGEST | DATA_DIGEST, size=4096),
        after_r2t("H2CData with a wrong header digest", "C2HTermReq: Header Digest Error, FEI the digest; closed", DIGESTS,
                  lambda pair, cid, ttag, at, data: send(pair, cid, ttag, at, data, spoil_header_digest=True),
                  digests=HEADER_DIGEST, size=4096),
        after_r2t("H2CTermReq instead of the data", "closed", TERMINATION,
                  lambda pair, cid, ttag, at, data: pair.send(h2c_term())),
        after_r2t("a C2HData instead of an H2CData", invalid_field(0), HEADER,
                  lambda pair, cid, ttag, at, data: pair.send(
                      PLAIN.encode(C2H_DATA, 0, struct.pack("<HHII4x", cid, ttag, at, len(data)), data))),
    ]


def bad_data_digest_in_capsule() -> Case:
    async def run(site: Site) -> str:
        controller = await site.controller(digests=DATA_DIGEST)
        pair = controller.io[0]
        right = pair.framing
        pair.framing = _SpoilingFraming(False, True, right.alignment)
        write = asyncio.create_task(pair.command(WRITE, nsid=1, data=bytes(512)))
        await asyncio.sleep(0)  # it is sent
        pair.framing = right
        return await see_outcome(controller, pair, write, closes=False)
    return Case("write with data in the capsule and a wrong data digest",
                "Transient Transport Error (0/22h); connection goes on", DIGESTS, run)


class _SpoilingFraming(Framing):
    def encode(self, *arguments, **fields) -> bytes:
        return super().encode(*arguments, **{**fields, "spoil_data_digest": True})


def cases() -> list[Case]:
    types = [("type 08h", 0x08), ("type 0Ah", 0x0A), ("type FFh", 0xFF), ("ICResp", IC_RESP), ("C2HTermReq", C2H_TERM),
             ("CapsuleResp", CAPSULE_RESP), ("C2HData", C2H_DATA), ("R2T", R2T)]
    body = bytes(16)
    return [
        first("command capsule", SEQUENCE_ERROR, SEQUENCE, capsule()),
        first("H2CData", SEQUENCE_ERROR, SEQUENCE, h2c_data(PLAIN, 0, 0, 0, bytes(512))),
        first("H2CTermReq", "closed", TERMINATION, h2c_term()),
        first("a PDU of type FFh", SEQUENCE_ERROR, SEQUENCE, PLAIN.encode(0xFF, 0, body)),
        first("an HTTP request", SEQUENCE_ERROR, SEQUENCE, b"GET / HTTP/1.1\r\nHost: storage\r\n\r\n"),
        first("ICReq with PFV 1", unsupported(8), IC, ic_req(pfv=1)),
        first("ICReq with HPDA 32", invalid_field(10), IC, ic_req(hpda=32)),
        first("ICReq with HPDA 255", invalid_field(10), IC, ic_req(hpda=255)),
        first("ICReq with HLEN 127", invalid_field(2), HEADER, ic_req(hlen=127)),
        first("ICReq with HLEN 0", invalid_field(2), HEADER, ic_req(hlen=0)),
        first("ICReq with PLEN 127", invalid_field(4), HEADER, ic_req(plen=127)),
        first("ICReq with PLEN 0", invalid_field(4), HEADER, ic_req(plen=0)),
        first("ICReq with PLEN FFFFFFFFh", invalid_field(4), HEADER, ic_req(plen=0xFFFFFFFF)),
        accepted("ICReq with reserved bits of DGST set", "ICResp with DGST 3", "reserved bits are ignored",
                 ic_req(digests=0xFF)),
        accepted("ICReq with MAXR2T FFFFFFFFh", "ICResp with DGST 0", IC, ic_req(maxr2t=0xFFFFFFFF)),
        second("ICReq again", SEQUENCE_ERROR, SEQUENCE, ic_req()),
        *(second(f"{name} from a host", invalid_field(0), HEADER, PLAIN.encode(value, 0, body)) for name, value in types),
        second("capsule with HLEN 71", invalid_field(2), HEADER, capsule(hlen=71)),
        second("capsule with HLEN 0", invalid_field(2), HEADER, capsule(hlen=0)),
        second("capsule with HLEN 255", invalid_field(2), HEADER, capsule(hlen=255)),
        second("capsule with PLEN 0", invalid_field(4), HEADER, capsule(plen=0)),
        second("capsule with PLEN 71", invalid_field(4), HEADER, capsule(plen=71)),
        second("capsule with PLEN FFFFFFFFh", TOO_MUCH, HEADER, capsule(bytes(64), plen=0xFFFFFFFF)),
        second("capsule with more than IOCCSZ's data", TOO_MUCH, CAPSULE, capsule(bytes(8192 + 512))),
        second("capsule with data and PDO 0", invalid_field(3), HEADER, capsule(bytes(64), pdo=0)),
        second("capsule with data and PDO 71", invalid_field(3), HEADER, capsule(bytes(64), pdo=71)),
        second("capsule with data and PDO 74", invalid_field(3), HEADER, capsule(bytes(64), pdo=74)),
        second("capsule with data and a PDO behind its end", invalid_field(4), HEADER, capsule(bytes(64), pdo=252)),
        second("capsule with HDGSTF, digests are off", invalid_field(1), DIGESTS, capsule(flags=HDGSTF)),
        second("capsule with data and DDGSTF, digests are off", invalid_field(1), DIGESTS,
               capsule(bytes(64), flags=DDGSTF)),
        second("capsule without HDGSTF, digests are on", invalid_field(1), DIGESTS, capsule(), digests=HEADER_DIGEST),
        second("capsule with data without DDGSTF, digests are on", invalid_field(1), DIGESTS, capsule(bytes(64)),
               digests=DATA_DIGEST),
        second("capsule with a wrong header digest", "C2HTermReq: Header Digest Error, FEI the digest; closed", DIGESTS,
               lambda framing: capsule(framing=framing, spoil_header_digest=True), digests=HEADER_DIGEST),
        second("H2CData without an R2T", invalid_field(10), DATA, h2c_data(PLAIN, 1, 1, 0, bytes(512))),
        second("H2CTermReq", "closed", TERMINATION, h2c_term()),
        second("H2CTermReq of 10000 bytes", "closed", TERMINATION, h2c_term(plen=10000)),
        bad_data_digest_in_capsule(),
        *r2t_cases(),
    ]
