"""Cases of malformed and misplaced commands over the wire."""

import asyncio
import struct
from typing import Callable

from hostile_site import ENTRIES, HOSTILE, Case, Site, see_commands, see_connect, see_outcome
from nvme_tcp_host import (ABORT, ASYNC_EVENT_REQUEST, CC, COMPARE, CONNECT, COPY, DATASET_MANAGEMENT, DISCOVERY_NQN,
                           FABRICS, FLUSH, GET_FEATURES, GET_LOG_PAGE, IDENTIFY, KEEP_ALIVE, PROPERTY_GET, PROPERTY_SET,
                           READ, RESERVATION_ACQUIRE, RESERVATION_REGISTER, SET_FEATURES, WRITE, WRITE_ZEROES, Controller,
                           QueuePair, host_id_of, host_nqn_of)
from nvme_tcp_pdu import CAPSULE_CMD, PSDT_SGL, SGL_IN_CAPSULE, SGL_TRANSPORT, connect_data, sqe

# What was broken.
BASE = "command"
CONNECT_SOURCE = "Connect"
SGL = "SGL"
SGL_TCP = "SGL on NVMe/TCP"
NVM = "NVM command set"
RESERVATION = "reservation"
FUSED = "fused pair"
PROPERTIES = "properties"

SEQUENCE = "Command Sequence Error (0/0Ch), DNR"
FIELD = "Invalid Field (0/02h), DNR"
OPCODE = "Invalid Opcode (0/01h), DNR"
NAMESPACE = "Invalid Namespace or Format (0/0Bh), DNR"
RANGE = "LBA Out of Range (0/80h)"
SGL_LENGTH = "Data SGL Length Invalid (0/0Fh), DNR"
SGL_TYPE = "SGL Descriptor Type Invalid (0/11h), DNR"
SGL_OFFSET = "SGL Offset Invalid (0/16h), DNR"


def wrong_parameter(offset: int, where: str) -> str:
    return f"Invalid Parameters (1/82h), offset {offset} of the {where}"


# ---- Before and at Connect ----

def before_connect(sent: str, demanded: str, opcode: int, **fields) -> Case:
    async def run(site: Site) -> str:
        pair = await site.new_queue()
        seen = await see_commands(pair.command(opcode, **fields))
        after = await site.connect_admin(pair)  # the queue is not spoilt
        pair.reset()
        return seen if after.status else f"{seen}; then Connect: {after.status!r}"
    return Case(sent + " before Connect", demanded, CONNECT_SOURCE, run)


def connect(sent: str, demanded: str, source: str = CONNECT_SOURCE, *, discovery: bool = False, **fields) -> Case:
    """A Connect of an admin queue with wrong fields; a right one on the same queue has to work then."""
    async def run(site: Site) -> str:
        pair = await site.new_queue()
        answer = await site.connect_admin(pair, **({"nqn": DISCOVERY_NQN} if discovery else {}), **fields)
        right = await site.connect_admin(pair)
        pair.reset()
        return see_connect(answer) + ("" if right.status else f"; then a right one: {right.status!r}")
    return Case("Connect " + sent, demanded, source, run)


def connect_io(sent: str, demanded: str, source: str = CONNECT_SOURCE, *,
               before: Callable[[Controller], object] | None = None, **fields) -> Case:
    """A Connect of an I/O queue of a controller that has queue 1."""
    async def run(site: Site) -> str:
        controller = await site.controller()
        try:
            if before:
                await before(controller)
            pair = await site.new_queue()
            answer = await site.connect_admin(pair, **{"qid": 2, "cntlid": controller.cntlid, **fields})
            pair.reset()
            return see_connect(answer)
        finally:
            controller.reset()
    return Case("Connect of an I/O queue " + sent, demanded, source, run)


def with_data(subsystem: bytes | None = None, host: bytes | None = None) -> Callable[[Site], bytes]:
    return lambda site: connect_data(host_id_of(HOSTILE), site.nqn.encode() if subsystem is None else subsystem,
                                     host_nqn_of(HOSTILE).encode() if host is None else host)


def connect_with(sent: str, demanded: str, data: Callable[[Site], bytes], source: str = CONNECT_SOURCE) -> Case:
    async def run(site: Site) -> str:
        pair = await site.new_queue()
        answer = await site.connect_admin(pair, data=data(site))
        pair.reset()
        return see_connect(answer)
    return Case("Connect " + sent, demanded, source, run)


def connect_cases() -> list[Case]:
    async def twice(site: Site) -> str:
        pair = await site.new_queue()
        await site.connect_admin(pair)
        answer = await site.connect_admin(pair)
        pair.reset()
        return see_connect(answer)

    async def disable(controller: Controller) -> None:
        await controller.property_set(CC, 0)

    return [
        before_connect("Identify", SEQUENCE, IDENTIFY, cdw10=1, in_length=4096),
        before_connect("Keep Alive", SEQUENCE, KEEP_ALIVE),
        before_connect("Property Get", SEQUENCE, FABRICS, nsid=PROPERTY_GET, cdw11=0x1C),
        before_connect("Read", SEQUENCE, READ, nsid=1, in_length=512),
        before_connect("Write with data in the capsule", SEQUENCE, WRITE, nsid=1, data=bytes(512)),
        Case("Connect twice", SEQUENCE, CONNECT_SOURCE, twice),
        connect("with RECFMT 1", "Incompatible Format (1/80h), DNR", recfmt=1),
        connect("with a PRP", FIELD, SGL_TCP, flags=0),
        connect("with half of its data", SGL_LENGTH, SGL, data=bytes(512)),
        connect("with its data at offset 64 of the capsule", SGL_OFFSET, SGL_TCP, sgl=(64, 1024, SGL_IN_CAPSULE)),
        connect("to an unknown subsystem", wrong_parameter(256, "data"), nqn="nqn.2019-05.io.openebs:nobody"),
        connect_with("with a SUBNQN that is not terminated", wrong_parameter(256, "data"), with_data(subsystem=b"n" * 256)),
        connect_with("with an empty SUBNQN", wrong_parameter(256, "data"), with_data(subsystem=b"")),
        connect_with("with an empty HOSTNQN", "Success (0/00h)", with_data(host=b""), "a host without a name is taken"),
        connect_with("with a HOSTNQN that is not terminated", wrong_parameter(512, "data"), with_data(host=b"n" * 256)),
        connect_with("with a HOSTNQN that is not UTF-8", wrong_parameter(512, "data"),
                     with_data(host=b"nqn.2014-08.org:\xff\xfe")),
        connect("for controller 1, not FFFFh", wrong_parameter(16, "data"), cntlid=1),
        connect("with SQSIZE 0", wrong_parameter(44, "command"), entries=1),
        connect("with SQSIZE FFFFh", wrong_parameter(44, "command"), entries=0x10000),
        connect("of an I/O queue of the discovery subsystem", wrong_parameter(42, "command"), discovery=True, qid=1),
        connect_io("of an unknown controller", wrong_parameter(16, "data"), cntlid=0xFFE0),
        connect_io("with another host identifier", wrong_parameter(0, "data"), host_id=host_id_of(HOSTILE + 1)),
        connect_io("with another HOSTNQN", wrong_parameter(512, "data"), host_nqn=host_nqn_of(HOSTILE + 1)),
        connect_io("with a QID beyond the limit", "Invalid Queue Identifier (1/01h)", qid=60000),
        connect_io("with a QID in use", "Invalid Queue Identifier (1/01h), DNR", qid=1),
        connect_io("with SQSIZE FFFFh", wrong_parameter(44, "command"), entries=0x10000),
        connect_io("of a disabled controller", wrong_parameter(42, "command"), before=disable),
    ]


# ---- On a controller ----

def admin(sent: str, demanded: str, opcode: int, source: str = BASE, **fields) -> Case:
    async def run(site: Site) -> str:
        controller = await site.controller()
        return await see_outcome(controller, controller.admin, controller.admin.command(opcode, **fields), closes=False)
    return Case(sent, demanded + "; connection goes on", source, run)


def io(sent: str, demanded: str, opcode: int, source: str = BASE, **fields) -> Case:
    async def run(site: Site) -> str:
        controller = await site.controller()
        return await see_outcome(controller, controller.io[0],
                                 controller.io[0].command(opcode, **{"nsid": 1, **fields}), closes=False)
    return Case(sent, demanded + "; connection goes on", source, run)


def admin_cases() -> list[Case]:
    async def not_enabled(site: Site) -> str:
        pair = await site.new_queue()
        await site.connect_admin(pair)
        seen = await see_commands(pair.command(IDENTIFY, cdw10=1, in_length=4096))
        pair.reset()
        return seen

    async def too_many_events(site: Site) -> str:
        controller = await site.controller()
        waiting = [controller.async_event() for _ in range(4)]
        await controller.keep_alive()  # those four have arrived
        seen = await see_outcome(controller, controller.admin, controller.admin.command(ASYNC_EVENT_REQUEST), closes=False)
        for task in waiting:
            await asyncio.gather(task, return_exceptions=True)
        return seen

    return [
        Case("Identify before CC.EN", SEQUENCE, "order of commands", not_enabled),
        admin("admin opcode FFh", OPCODE, 0xFF),
        admin("Create I/O Submission Queue (not on fabrics)", OPCODE, 1),
        admin("fused Identify", FIELD, IDENTIFY, cdw10=1, in_length=4096, flags=PSDT_SGL | 1),
        admin("Identify by PRP", FIELD, IDENTIFY, SGL_TCP, cdw10=1, in_length=4096, flags=0),
        admin("Identify with CNS FFh", FIELD, IDENTIFY, cdw10=0xFF, in_length=4096),
        admin("Identify of namespace 2", NAMESPACE, IDENTIFY, nsid=2, in_length=4096),
        admin("Identify into 512 bytes", SGL_LENGTH, IDENTIFY, SGL, cdw10=1, in_length=512),
        admin("Identify into the capsule", SGL_TYPE, IDENTIFY, SGL_TCP, cdw10=1, sgl=(0, 4096, SGL_IN_CAPSULE)),
        admin("Get Log Page FEh", "Invalid Log Page (1/09h), DNR", GET_LOG_PAGE, cdw10=0xFE | 127 << 16, in_length=512),
        admin("Get Log Page at offset 2", FIELD, GET_LOG_PAGE, cdw10=2 | 127 << 16, cdw12=2, in_length=512),
        admin("Get Log Page of 16 GiB", FIELD, GET_LOG_PAGE, cdw10=2 | 0xFFFF << 16, cdw11=0xFFFF, in_length=512),
        admin("Get Features FFh", FIELD, GET_FEATURES, cdw10=0xFF),
        admin("Set Features FFh", FIELD, SET_FEATURES, cdw10=0xFF),
        admin("Set Features, to be saved", "status (1/0Dh), DNR", SET_FEATURES, cdw10=0x0B | 1 << 31),
        admin("Set Features: no keep-alive", "Keep Alive Timeout Invalid (0/1Ah), DNR", SET_FEATURES, cdw10=0x0F, cdw11=0),
        Case("a fifth Asynchronous Event Request", "AER Limit Exceeded (1/05h), DNR; connection goes on", "limit",
             too_many_events),
        admin("Property Get of a reserved offset", FIELD, FABRICS, PROPERTIES, nsid=PROPERTY_GET, cdw11=0x1000),
        admin("Property Get of CAP in four bytes", FIELD, FABRICS, PROPERTIES, nsid=PROPERTY_GET, cdw10=0, cdw11=0),
        admin("Property Set of CAP", FIELD, FABRICS, PROPERTIES, nsid=PROPERTY_SET, cdw10=1, cdw11=0, cdw12=1),
        admin("fabrics command type 7Fh", OPCODE, FABRICS, PROPERTIES, nsid=0x7F),
        admin("Connect on a connected queue", SEQUENCE, FABRICS, CONNECT_SOURCE, nsid=CONNECT, data=bytes(1024)),
        admin("Abort of a command that is not there", "Success (0/00h)", ABORT, cdw10=1 | 0x1234 << 16),
    ]


def io_cases() -> list[Case]:
    async def fused_alone(site: Site) -> str:
        controller = await site.controller()
        pair = controller.io[0]
        first = pair.command(COMPARE, nsid=1, data=bytes(512), flags=PSDT_SGL | 1)
        second = pair.command(READ, nsid=1, in_length=512)
        return await see_outcome(controller, pair, first, second, closes=False)

    one = {"in_length": 512}
    return [
        io("Identify on an I/O queue", OPCODE, IDENTIFY, cdw10=1, nsid=1, in_length=4096),
        io("Keep Alive on an I/O queue", OPCODE, KEEP_ALIVE),
        io("Property Get on an I/O queue", OPCODE, FABRICS, PROPERTIES, nsid=PROPERTY_GET, cdw11=0x1C),
        io("Connect on a connected I/O queue", SEQUENCE, FABRICS, CONNECT_SOURCE, nsid=CONNECT, data=bytes(1024)),
        io("I/O opcode FFh", OPCODE, 0xFF),
        io("Write Uncorrectable", OPCODE, 4),
        *(io(f"Read of namespace {nsid:X}h", NAMESPACE, READ, nsid=nsid, **one) for nsid in (0, 2, 0xFFFFFFFF)),
        io("Flush of all namespaces", NAMESPACE, FLUSH, "VWC does not support it", nsid=0xFFFFFFFF),
        io("Read behind the end", RANGE, READ, NVM, cdw10=0, cdw11=1, **one),
        io("Read at LBA FFFFFFFFFFFFFFFFh", RANGE, READ, NVM, cdw10=0xFFFFFFFF, cdw11=0xFFFFFFFF, **one),
        io("Read across the end", RANGE, READ, NVM, cdw10=16383, cdw12=1, in_length=1024),
        io("Write behind the end", RANGE, WRITE, NVM, cdw11=1, data=bytes(512)),
        io("Write Zeroes across the end", RANGE, WRITE_ZEROES, NVM, cdw10=16000, cdw12=0xFFFF),
        io("Read of more than MDTS", FIELD, READ, NVM, cdw12=0xFFFF, in_length=1 << 25),
        io("Read by PRP", FIELD, READ, SGL_TCP, flags=0, **one),
        io("Read with PSDT 3", FIELD, READ, SGL, flags=0xC0, **one),
        io("Read into the capsule", SGL_TYPE, READ, SGL_TCP, sgl=(0, 512, SGL_IN_CAPSULE)),
        *(io(f"Read with {name}", SGL_TYPE, READ, SGL, sgl=(0, 512, kind)) for name, kind in (
            ("a data block at an address", 0x00), ("a bit bucket", 0x10), ("a segment", 0x20), ("a last segment", 0x30),
            ("a keyed data block", 0x40), ("a vendor's descriptor", 0xF0))),
        io("Read into 256 bytes", SGL_LENGTH, READ, SGL, sgl=(0, 256, SGL_TRANSPORT)),
        io("Write from 256 bytes in the capsule", SGL_LENGTH, WRITE, SGL, data=bytes(256)),
        io("Write with a keyed data block", SGL_TYPE, WRITE, SGL, sgl=(0, 512, 0x40)),
        io("Dataset Management behind the end", RANGE, DATASET_MANAGEMENT, NVM, cdw11=4,
           data=struct.pack("<IIQ", 0, 8, 1 << 40)),
        io("Dataset Management of 256 ranges with the data of one", SGL_LENGTH, DATASET_MANAGEMENT, NVM, cdw10=255, cdw11=4,
           data=bytes(16)),
        io("Copy with format 1", FIELD, COPY, NVM, cdw12=1 << 8, data=bytes(32)),
        io("Copy of a range behind the end", RANGE, COPY, NVM, data=struct.pack("<QQHxxIIHH", 0, 1 << 40, 7, 0, 0, 0, 0)),
        io("Reservation Register with 8 bytes", FIELD, RESERVATION_REGISTER, RESERVATION, data=bytes(8)),
        io("Reservation Register with action 7", FIELD, RESERVATION_REGISTER, RESERVATION, cdw10=7, data=bytes(16)),
        io("Reservation Acquire without a registration", "Reservation Conflict (0/83h)", RESERVATION_ACQUIRE, RESERVATION,
           cdw10=1 << 8, data=bytes(16)),
        io("Read with FUSE 3", FIELD, READ, flags=PSDT_SGL | 3, **one),
        Case("first half of a fused pair, then a Read",
             "Aborted, Missing Fused (0/0Ah); Success (0/00h); connection goes on", FUSED, fused_alone),
        io("second half of a fused pair alone", "Aborted, Missing Fused (0/0Ah)", WRITE, FUSED,
           flags=PSDT_SGL | 2, data=bytes(512)),
    ]


def transport_cases() -> list[Case]:
    """What only the transport can judge."""
    async def same_identifier(site: Site) -> str:
        controller = await site.controller()
        pair = controller.io[0]
        answers: list[tuple] = []
        pair.answer_r2t = lambda *fields: answers.append(fields)
        write = asyncio.create_task(pair.command(WRITE, nsid=1, data=bytes(512), by_r2t=True, cid=5))
        while not answers:
            await asyncio.sleep(0.001)
        pair.send(pair.framing.encode(CAPSULE_CMD, 0, sqe(FLUSH, 5, nsid=1)))
        seen = await see_commands(write)
        controller.reset()
        return seen

    async def too_deep(site: Site) -> str:
        controller = await site.controller()
        pair = controller.io[0]
        pair.answer_r2t = lambda *_: None
        many = [pair.command(WRITE, nsid=1, data=bytes(512), by_r2t=True, unlimited=True) for _ in range(4 * ENTRIES)]
        return await see_outcome(controller, pair, *many, closes=True)

    return [
        io("Write, SGL says 512 bytes in the capsule, there are none", SGL_LENGTH, WRITE, SGL,
           sgl=(0, 512, SGL_IN_CAPSULE)),
        io("Write with its data at offset 512 of the capsule", SGL_OFFSET, WRITE, SGL_TCP, data=bytes(1024),
           sgl=(512, 512, SGL_IN_CAPSULE)),
        Case("Flush with the identifier of a Write that waits for its data", "Success (0/00h)",
             "conflicts need not be looked for", same_identifier),
        Case("four times as many commands as the queue has entries",
             "C2HTermReq: PDU Sequence Error, FEI 0; closed", "queue size", too_deep),
    ]


def cases() -> list[Case]:
    return [*connect_cases(), *admin_cases(), *io_cases()]
