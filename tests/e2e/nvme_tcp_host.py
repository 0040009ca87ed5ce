"""A small NVMe/TCP host for tests: what a well-behaved host does, and every way not to behave.

    controller = await Controller.connect("127.0.0.1", port, nqn)
    await controller.write(0, b"..." )
    data = await controller.read(0, 8)
    await controller.close()

RawConnection sends any bytes and decodes what comes back; QueuePair adds commands; Controller adds the association.
"""

import asyncio
import contextlib
import itertools
import os
import socket
import struct
import uuid

from nvme_tcp_pdu import (C2H_DATA, C2H_TERM, CAPSULE_CMD, CAPSULE_RESP, DATA_DIGEST, DDGSTF, HDGSTF, HEADER_DIGEST,
                          IC_RESP, LAST, R2T, SGL_IN_CAPSULE, SGL_TRANSPORT, SUCCESS, Completion, Framing, Pdu, Status,
                          connect_data, crc32c, h2c_data, ic_req, sqe)

TIME_FACTOR = float(os.environ.get("CAIRN_TIME_FACTOR", "1"))  # sanitizers are slower
ANSWER_TIMEOUT_S = 20 * TIME_FACTOR

DISCOVERY_NQN = "nqn.2014-08.org.nvmexpress.discovery"

# Fabrics command types
PROPERTY_SET, CONNECT, PROPERTY_GET = 0x00, 0x01, 0x04
# Properties
CAP, VS, CC, CSTS = 0x00, 0x08, 0x14, 0x1C
# Admin opcodes
GET_LOG_PAGE, IDENTIFY, ABORT, SET_FEATURES, GET_FEATURES, ASYNC_EVENT_REQUEST, KEEP_ALIVE = 2, 6, 8, 9, 10, 12, 0x18
# I/O opcodes
FLUSH, WRITE, READ, COMPARE, WRITE_ZEROES, DATASET_MANAGEMENT = 0, 1, 2, 5, 8, 9
RESERVATION_REGISTER, RESERVATION_REPORT, RESERVATION_ACQUIRE, RESERVATION_RELEASE, COPY = 0x0D, 0x0E, 0x11, 0x15, 0x19
FABRICS = 0x7F

FUA = 1 << 30  # of cdw12
CC_ENABLED = 1 | 6 << 16 | 4 << 20  # EN, IOSQES 64 bytes, IOCQES 16 bytes


class HostError(Exception):
    pass


class Disconnected(HostError):
    """The connection ended with commands outstanding, or before one could be sent."""


class Terminated(Disconnected):
    """By a C2HTermReq."""


class Misbehaviour(HostError):
    """The controller did something that the specification forbids."""


class CommandFailed(HostError):
    def __init__(self, what: str, completion: Completion):
        super().__init__(f"{what}: {completion.status}, dw0 {completion.dw0:#x}")
        self.completion = completion
        self.status = completion.status


def host_id_of(number: int) -> bytes:
    return uuid.uuid5(uuid.NAMESPACE_OID, f"test host {number}").bytes


def host_nqn_of(number: int) -> str:
    return f"nqn.2014-08.org.nvmexpress:uuid:{uuid.UUID(bytes=host_id_of(number))}"


class RawConnection:
    """A TCP connection to a controller's port that sends anything and decodes PDUs."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.reader = reader
        self.writer = writer
        self.framing = Framing()
        self.hpda = 0
        self.maxh2cdata = 0

    @classmethod
    async def open(cls, address: str, port: int):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        reader, writer = await asyncio.wait_for(asyncio.open_connection(address, port, family=family, limit=1 << 22),
                                                ANSWER_TIMEOUT_S)
        return cls(reader, writer)

    async def initialize(self, *, digests: int = 0, hpda: int = 0, maxr2t: int = 0) -> None:
        self.send(ic_req(hpda=hpda, digests=digests, maxr2t=maxr2t))
        answer = await self.receive()
        if answer is None or answer.type != IC_RESP:
            raise Disconnected(f"no ICResp but {answer.describe() if answer else 'the end of the connection'}")
        pfv, cpda, dgst, self.maxh2cdata = struct.unpack_from("<HBBI", answer.header, 8)
        if pfv != 0 or cpda > 31 or dgst & ~digests or self.maxh2cdata < 4096:
            raise Misbehaviour(f"ICResp with PFV {pfv}, CPDA {cpda}, DGST {dgst}, MAXH2CDATA {self.maxh2cdata}")
        self.hpda = hpda
        self.framing = Framing(bool(dgst & HEADER_DIGEST), bool(dgst & DATA_DIGEST), cpda)

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def receive(self) -> Pdu | None:
        """The next PDU; nothing at the end of the connection, orderly or by reset."""
        try:
            return await asyncio.wait_for(self._receive(), ANSWER_TIMEOUT_S)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def _receive(self) -> Pdu:
        common = await self.reader.readexactly(8)
        pdu_type, flags, hlen, pdo, plen = struct.unpack("<BBBBI", common)
        if hlen < 8 or plen < hlen:
            raise Misbehaviour(f"PDU {common.hex()} with HLEN {hlen}, PLEN {plen}")
        rest = await self.reader.readexactly(plen - 8)
        pdu = Pdu(pdu_type, flags, common + rest[:hlen - 8])
        end = len(rest)
        if flags & HDGSTF:
            pdu.digests_right = rest[hlen - 8:hlen - 4] == struct.pack("<I", crc32c(pdu.header))
        if pdu_type == C2H_DATA:
            if pdo % ((self.hpda + 1) * 4):
                raise Misbehaviour(f"C2HData with PDO {pdo} for HPDA {self.hpda}")
            if flags & DDGSTF:
                end -= 4
            pdu.data = rest[pdo - 8:end]
            if flags & DDGSTF:
                pdu.digests_right &= rest[end:] == struct.pack("<I", crc32c(pdu.data))
        elif pdu_type == C2H_TERM:
            pdu.data = rest[hlen - 8:]
        if pdu_type in (CAPSULE_RESP, C2H_DATA, R2T) and bool(flags & HDGSTF) != self.framing.header_digest:
            raise Misbehaviour(f"{pdu.name} with flags {flags:#x}, header digests are {self.framing.header_digest}")
        return pdu

    async def receive_until_end(self) -> list[Pdu]:
        pdus: list[Pdu] = []
        while (pdu := await self.receive()) is not None:
            pdus.append(pdu)
        return pdus

    async def close(self) -> None:
        """In order (FIN)."""
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()

    def reset(self) -> None:
        """RST."""
        connection = self.writer.get_extra_info("socket")
        if connection is not None and connection.fileno() >= 0:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class _Pending:
    def __init__(self, data_out: bytes, in_capsule: bool, in_length: int):
        self.done: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self.data_out = data_out
        self.in_capsule = in_capsule
        self.data_in = bytearray(in_length)
        self.received = 0


class QueuePair(RawConnection):
    """Commands over a connection. start() after initialize(); from then on PDUs are dealt with as they come."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        super().__init__(reader, writer)
        self.qid = 0
        self.entries = 32
        self.in_capsule_limit = 8192
        self.termination: Pdu | None = None
        self.ended = asyncio.Event()
        self.r2ts = 0  # received, ever
        self._pending: dict[int, _Pending] = {}
        self._free = asyncio.Semaphore(self.entries - 1)
        self._cids = itertools.count()
        self._task: asyncio.Task | None = None
        self._misbehaviour: Misbehaviour | None = None
        self._closing = False

    @classmethod
    async def establish(cls, address: str, port: int, *, digests: int = 0, hpda: int = 0) -> "QueuePair":
        pair = await cls.open(address, port)
        await pair.initialize(digests=digests, hpda=hpda)
        pair.start()
        return pair

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    @property
    def outstanding(self) -> int:
        return len(self._pending)

    async def _run(self) -> None:
        try:
            while True:
                try:
                    pdu = await self._receive()
                except (asyncio.IncompleteReadError, ConnectionError):
                    break
                self._take(pdu)
        except Misbehaviour as error:
            self._misbehaviour = error
        finally:
            self.ended.set()
            for pending in list(self._pending.values()):
                if not pending.done.done():
                    pending.done.set_exception(self._end_error())

    def _end_error(self) -> HostError:
        if self._misbehaviour:
            return self._misbehaviour
        if self.termination:
            return Terminated(self.termination.describe())
        return Disconnected(f"queue {self.qid}")

    def _take(self, pdu: Pdu) -> None:
        if not pdu.digests_right:
            raise Misbehaviour(f"{pdu.name} with a wrong digest")
        if pdu.type == C2H_TERM:
            self.termination = pdu
        elif pdu.type == CAPSULE_RESP:
            completion = Completion.of(pdu.header)
            self._complete(self._find(completion.cid, pdu), completion)
        elif pdu.type == C2H_DATA:
            self._take_data(pdu)
        elif pdu.type == R2T:
            cccid, ttag, offset, length = struct.unpack_from("<HHII", pdu.header, 8)
            pending = self._find(cccid, pdu)
            if pending.in_capsule or offset + length > len(pending.data_out) or length == 0:
                raise Misbehaviour(f"R2T for offset {offset}, length {length} of {len(pending.data_out)} bytes")
            self.r2ts += 1
            self.answer_r2t(cccid, ttag, offset, pending.data_out[offset:offset + length])
        else:
            raise Misbehaviour(f"{pdu.name} from a controller in mid-connection")

    def answer_r2t(self, cccid: int, ttag: int, offset: int, data: bytes) -> None:
        """Sends what an R2T asked for. Tests that want to do it wrongly replace this."""
        if self._closing:
            return
        for start in range(0, len(data), self.maxh2cdata):
            part = data[start:start + self.maxh2cdata]
            last = start + len(part) == len(data)
            self.send(h2c_data(self.framing, cccid, ttag, offset + start, part, last=last))

    def _take_data(self, pdu: Pdu) -> None:
        cccid, offset, length = struct.unpack_from("<HxxII", pdu.header, 8)
        pending = self._find(cccid, pdu)
        if offset != pending.received or length != len(pdu.data) or offset + length > len(pending.data_in):
            raise Misbehaviour(f"C2HData at {offset} of {length} ({len(pdu.data)}), "
                               f"wanted {pending.received} of {len(pending.data_in)}")
        pending.data_in[offset:offset + length] = pdu.data
        pending.received += length
        if pdu.flags & SUCCESS:
            if not pdu.flags & LAST:
                raise Misbehaviour("C2HData with SUCCESS but without LAST_PDU")
            self._complete(pending, Completion(0, 0, 0, cccid, Status(0)))

    def _find(self, cid: int, pdu: Pdu) -> _Pending:
        if cid not in self._pending:
            raise Misbehaviour(f"{pdu.name} for command {cid}, which is not outstanding")
        return self._pending[cid]

    @staticmethod
    def _complete(pending: _Pending, completion: Completion) -> None:
        completion.data = bytes(pending.data_in[:pending.received])
        if not pending.done.done():
            pending.done.set_result(completion)

    def next_cid(self) -> int:
        cid = next(self._cids) & 0x7FFF
        while cid in self._pending:
            cid = next(self._cids) & 0x7FFF
        return cid

    async def command(self, opcode: int, *, data: bytes = b"", in_length: int = 0, by_r2t: bool | None = None,
                      sgl: tuple[int, int, int] | None = None, cid: int | None = None, timeout_s: float | None = None,
                      unlimited: bool = False, **fields) -> Completion:
        """Executes a command. `data` goes to the controller: in the capsule if it fits, unless by_r2t says otherwise.

        A given `sgl` is sent as it is. `unlimited` ignores the queue's depth; timeout_s 0 waits for ever.
        """
        async with contextlib.nullcontext() if unlimited else self._free:
            in_capsule = bool(data) and not (len(data) > self.in_capsule_limit if by_r2t is None else by_r2t)
            if sgl is None:
                sgl = (0, len(data), SGL_IN_CAPSULE) if in_capsule else (0, len(data) or in_length, SGL_TRANSPORT)
            cid = self.next_cid() if cid is None else cid
            pending = self._pending[cid] = _Pending(data, in_capsule, in_length)
            try:
                if self.ended.is_set() or self._closing or self.writer.is_closing():
                    raise self._end_error()
                self.send(self.framing.encode(CAPSULE_CMD, 0, sqe(opcode, cid, sgl=sgl, **fields),
                                              data if in_capsule else b""))
                timeout = ANSWER_TIMEOUT_S if timeout_s is None else timeout_s
                return await (asyncio.wait_for(pending.done, timeout) if timeout else pending.done)
            finally:
                self._pending.pop(cid, None)
                if pending.done.done() and not pending.done.cancelled():
                    pending.done.exception()  # seen

    def set_entries(self, entries: int) -> None:
        self.entries = entries
        self._free = asyncio.Semaphore(entries - 1)

    async def connect(self, nqn: str, *, qid: int = 0, entries: int = 32, cntlid: int = 0xFFFF, kato_ms: int = 0,
                      host_nqn: str, host_id: bytes, recfmt: int = 0, data: bytes | None = None, **options) -> Completion:
        """The fabrics command Connect."""
        if data is None:
            data = connect_data(host_id, nqn.encode(), host_nqn.encode(), cntlid)
        answer = await self.command(FABRICS, nsid=CONNECT, data=data, cdw10=recfmt | qid << 16, cdw11=entries - 1,
                                    cdw12=kato_ms, **options)
        if answer.status:
            self.qid = qid
            self.set_entries(entries)
        return answer

    async def close(self) -> None:
        """In order: FIN, and the controller's FIN for it."""
        self._closing = True
        if self._task:
            if not self.writer.is_closing() and self.writer.can_write_eof():
                self.writer.write_eof()
            await asyncio.wait_for(self.ended.wait(), ANSWER_TIMEOUT_S)
        await super().close()

    async def wait_end(self) -> None:
        await asyncio.wait_for(self.ended.wait(), ANSWER_TIMEOUT_S)


def expect_success(what: str, completion: Completion) -> Completion:
    if not completion.status:
        raise CommandFailed(what, completion)
    return completion


class Controller:
    """An association: an admin queue and I/O queues, enabled. Errors of its methods: CommandFailed, Disconnected."""

    def __init__(self, address: str, port: int, nqn: str, number: int, digests: int, hpda: int):
        self.address, self.port, self.nqn = address, port, nqn
        self.host_id, self.host_nqn = host_id_of(number), host_nqn_of(number)
        self.digests, self.hpda = digests, hpda
        self.cntlid = 0xFFFF
        self.admin: QueuePair | None = None
        self.io: list[QueuePair] = []
        self.block_size = 512
        self.num_blocks = 0
        self.in_capsule_limit = 8192
        self._keep_alive: asyncio.Task | None = None
        self._silent = False

    @classmethod
    async def connect(cls, address: str, port: int, nqn: str, *, number: int = 1, io_queues: int = 1, entries: int = 32,
                      kato_ms: int = 0, digests: int = 0, hpda: int = 0) -> "Controller":
        """`number` tells hosts apart. With a kato_ms, keep-alives are sent in the background."""
        self = cls(address, port, nqn, number, digests, hpda)
        try:
            await self._connect_admin(kato_ms)
            if nqn != DISCOVERY_NQN:
                await self.identify_namespace()
            for _ in range(io_queues if nqn != DISCOVERY_NQN else 0):
                await self.add_io_queue(entries=entries)
        except BaseException:
            self.reset()
            raise
        return self

    async def _connect_admin(self, kato_ms: int) -> None:
        self.admin = await QueuePair.establish(self.address, self.port, digests=self.digests, hpda=self.hpda)
        answer = expect_success("Connect", await self.admin.connect(
            self.nqn, kato_ms=kato_ms, host_nqn=self.host_nqn, host_id=self.host_id))
        self.cntlid = answer.dw0 & 0xFFFF
        await self.property_set(CC, CC_ENABLED)
        while not await self.property_get(CSTS) & 1:
            pass
        identity = await self.identify_controller()
        if self.nqn != DISCOVERY_NQN:
            self.in_capsule_limit = struct.unpack_from("<I", identity, 1792)[0] * 16 - 64  # IOCCSZ
        if kato_ms:
            self._keep_alive = asyncio.create_task(self._keep_alive_loop(kato_ms / 2000))

    async def _keep_alive_loop(self, period_s: float) -> None:
        with contextlib.suppress(HostError):
            while not self._silent:
                await asyncio.sleep(period_s)  # what a keep-alive is: nothing waits for it
                await self.keep_alive()

    async def add_io_queue(self, *, qid: int | None = None, entries: int = 32) -> QueuePair:
        pair = await QueuePair.establish(self.address, self.port, digests=self.digests, hpda=self.hpda)
        answer = await pair.connect(self.nqn, qid=qid or len(self.io) + 1, entries=entries, cntlid=self.cntlid,
                                    host_nqn=self.host_nqn, host_id=self.host_id)
        if not answer.status:
            pair.reset()
            raise CommandFailed("Connect of an I/O queue", answer)
        pair.in_capsule_limit = self.in_capsule_limit
        self.io.append(pair)
        return pair

    @property
    def queue_pairs(self) -> list[QueuePair]:
        return [pair for pair in (*self.io, self.admin) if pair is not None]

    async def close(self) -> None:
        self.stop_keep_alive()
        for pair in self.queue_pairs:
            await pair.close()

    def reset(self) -> None:
        self.stop_keep_alive()
        for pair in self.queue_pairs:
            pair.reset()

    def stop_keep_alive(self) -> None:
        """From now on this host is silent unless told to do something."""
        self._silent = True  # wait_for() loses a cancellation that comes together with the answer
        if self._keep_alive:
            self._keep_alive.cancel()

    # ---- Admin ----

    async def property_get(self, offset: int) -> int:
        size = 1 if offset == CAP else 0
        return expect_success("Property Get", await self.admin.command(
            FABRICS, nsid=PROPERTY_GET, cdw10=size, cdw11=offset)).value

    async def property_set(self, offset: int, value: int) -> None:
        expect_success("Property Set", await self.admin.command(
            FABRICS, nsid=PROPERTY_SET, cdw11=offset, cdw12=value))

    async def identify(self, cns: int, nsid: int = 0) -> bytes:
        return expect_success(f"Identify {cns:#x}", await self.admin.command(
            IDENTIFY, nsid=nsid, cdw10=cns, in_length=4096)).data

    async def identify_controller(self) -> bytes:
        return await self.identify(1)

    async def identify_namespace(self) -> bytes:
        """Also learns block size and number of blocks."""
        data = await self.identify(0, nsid=1)
        self.num_blocks = struct.unpack_from("<Q", data, 0)[0]
        self.block_size = 1 << data[128 + 4 * (data[26] & 0xF) + 2]  # LBADS of the format in use
        return data

    async def get_log_page(self, page: int, length: int, *, offset: int = 0, nsid: int = 0, retain: bool = False) -> bytes:
        dwords = length // 4 - 1
        return expect_success(f"Get Log Page {page:#x}", await self.admin.command(
            GET_LOG_PAGE, nsid=nsid, cdw10=page | (1 << 15 if retain else 0) | (dwords & 0xFFFF) << 16,
            cdw11=dwords >> 16, cdw12=offset & 0xFFFFFFFF, cdw13=offset >> 32, in_length=length)).data

    async def set_features(self, fid: int, value: int, **fields) -> Completion:
        return expect_success(f"Set Features {fid:#x}", await self.admin.command(
            SET_FEATURES, cdw10=fid, cdw11=value, **fields))

    async def get_features(self, fid: int, **fields) -> Completion:
        return expect_success(f"Get Features {fid:#x}", await self.admin.command(GET_FEATURES, cdw10=fid, **fields))

    async def keep_alive(self) -> None:
        expect_success("Keep Alive", await self.admin.command(KEEP_ALIVE))

    def async_event(self) -> asyncio.Task[Completion]:
        """Asks for an event; the task ends with it."""
        return asyncio.create_task(self.admin.command(ASYNC_EVENT_REQUEST, timeout_s=0))

    # ---- I/O ----

    async def execute(self, opcode: int, *, queue: int = 0, nsid: int = 1, **fields) -> Completion:
        return await self.io[queue].command(opcode, nsid=nsid, **fields)

    async def read(self, slba: int, blocks: int, *, queue: int = 0, flags: int = 0) -> bytes:
        answer = expect_success("Read", await self.execute(
            READ, queue=queue, cdw10=slba & 0xFFFFFFFF, cdw11=slba >> 32, cdw12=blocks - 1 | flags,
            in_length=blocks * self.block_size))
        if len(answer.data) != blocks * self.block_size:
            raise Misbehaviour(f"Read of {blocks} blocks gave {len(answer.data)} bytes")
        return answer.data

    async def write(self, slba: int, data: bytes, *, queue: int = 0, flags: int = 0, by_r2t: bool | None = None) -> None:
        await self._send_blocks("Write", WRITE, slba, data, queue, flags, by_r2t)

    async def compare(self, slba: int, data: bytes, *, queue: int = 0, by_r2t: bool | None = None) -> None:
        await self._send_blocks("Compare", COMPARE, slba, data, queue, 0, by_r2t)

    async def _send_blocks(self, what: str, opcode: int, slba: int, data: bytes, queue: int, flags: int,
                           by_r2t: bool | None) -> None:
        expect_success(what, await self.execute(
            opcode, queue=queue, cdw10=slba & 0xFFFFFFFF, cdw11=slba >> 32,
            cdw12=len(data) // self.block_size - 1 | flags, data=data, by_r2t=by_r2t))

    async def flush(self, *, queue: int = 0) -> None:
        expect_success("Flush", await self.execute(FLUSH, queue=queue))

    async def write_zeroes(self, slba: int, blocks: int, *, queue: int = 0, flags: int = 0) -> None:
        expect_success("Write Zeroes", await self.execute(
            WRITE_ZEROES, queue=queue, cdw10=slba & 0xFFFFFFFF, cdw11=slba >> 32, cdw12=blocks - 1 | flags))

    async def deallocate(self, *ranges: tuple[int, int], queue: int = 0) -> None:
        """Ranges of (first block, number of blocks)."""
        data = b"".join(struct.pack("<IIQ", 0, blocks, slba) for slba, blocks in ranges)
        expect_success("Dataset Management", await self.execute(
            DATASET_MANAGEMENT, queue=queue, cdw10=len(ranges) - 1, cdw11=1 << 2, data=data))

    # ---- Reservations ----

    async def register(self, key: int, *, current: int = 0, action: int = 0, ignore: bool = False, persist: int = 0,
                       queue: int = 0) -> None:
        """Action 0 registers, 1 unregisters, 2 replaces; persist 2 ends, 3 begins persistence through power loss."""
        expect_success("Reservation Register", await self.execute(
            RESERVATION_REGISTER, queue=queue, cdw10=action | ignore << 3 | persist << 30,
            data=struct.pack("<QQ", current, key)))

    async def acquire(self, key: int, kind: int, *, action: int = 0, preempt: int = 0, queue: int = 0) -> None:
        expect_success("Reservation Acquire", await self.execute(
            RESERVATION_ACQUIRE, queue=queue, cdw10=action | kind << 8, data=struct.pack("<QQ", key, preempt)))

    async def release(self, key: int, kind: int, *, action: int = 0, queue: int = 0) -> None:
        expect_success("Reservation Release", await self.execute(
            RESERVATION_RELEASE, queue=queue, cdw10=action | kind << 8, data=struct.pack("<Q", key)))

    async def reservation_report(self, *, queue: int = 0) -> dict:
        """gen, type, ptpl; registrants as {host id: (key, whether it holds the reservation)}."""
        length = 4096
        data = expect_success("Reservation Report", await self.execute(
            RESERVATION_REPORT, queue=queue, cdw10=length // 4 - 1, cdw11=1, in_length=length)).data
        gen, kind, registered, ptpl = struct.unpack_from("<IBH2xB", data, 0)
        registrants = {}
        for start in range(64, 64 + 64 * registered, 64):
            _, status, key, host = struct.unpack_from("<HB5xQ16s", data, start)
            registrants[host] = (key, bool(status & 1))
        return {"gen": gen, "type": kind, "ptpl": ptpl, "registrants": registrants}
