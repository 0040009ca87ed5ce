"""What the cases of the hostile tests are played on, and how what came back is told."""

import asyncio
import dataclasses
import struct
from typing import Awaitable, Callable

from engine_case import Engine
from nvme_tcp_host import Completion, Controller, Disconnected, QueuePair, RawConnection, host_id_of, host_nqn_of
from nvme_tcp_pdu import IC_RESP, Pdu

HOSTILE = 666  # number of the host that misbehaves
ENTRIES = 16  # of its queues


@dataclasses.dataclass
class Site:
    engine: Engine
    nqn: str  # of the device that may be mistreated
    address: str = "127.0.0.1"

    @property
    def port(self) -> int:
        return self.engine.port

    async def raw(self) -> RawConnection:
        return await RawConnection.open(self.address, self.port)

    async def initialized(self, *, digests: int = 0) -> RawConnection:
        """After ICResp; before Connect."""
        connection = await self.raw()
        await connection.initialize(digests=digests)
        return connection

    async def new_queue(self, *, digests: int = 0) -> QueuePair:
        """Takes commands; before Connect."""
        return await QueuePair.establish(self.address, self.port, digests=digests)

    async def controller(self, *, digests: int = 0, io_queues: int = 1) -> Controller:
        return await Controller.connect(self.address, self.port, self.nqn, number=HOSTILE, digests=digests,
                                        io_queues=io_queues, entries=ENTRIES)

    async def connect_admin(self, pair: QueuePair, **fields) -> Completion:
        parameters = {"host_nqn": host_nqn_of(HOSTILE), "host_id": host_id_of(HOSTILE), **fields}
        return await pair.connect(parameters.pop("nqn", self.nqn), **parameters)


@dataclasses.dataclass
class Case:
    """`run` plays it and tells what came back, which has to be `demanded`; `source` is the rule's subject."""

    sent: str
    demanded: str
    source: str
    run: Callable[[Site], Awaitable[str]]


async def send_and_see(connection: RawConnection, data: bytes) -> str:
    """Sends; what comes until the controller closes. A controller that only closes may do so while we send."""
    connection.send(data)
    seen = []
    try:
        while (pdu := await connection.receive()) is not None:
            seen.append(pdu.describe())
        seen.append("closed")
    except asyncio.TimeoutError:
        seen.append("still open")
    connection.reset()
    return "; ".join(seen)


async def see_end(pair: QueuePair) -> str:
    """What ends a queue."""
    try:
        await pair.wait_end()
    except asyncio.TimeoutError:
        return "still open"
    return "; ".join([*([pair.termination.describe()] if pair.termination else []), "closed"])


async def see_outcome(controller: Controller, pair: QueuePair, *commands: Awaitable[Completion], closes: bool) -> str:
    """The statuses of commands, and whether the connection goes on; `closes` when it must not."""
    seen = await see_commands(*commands)
    if closes or pair.ended.is_set():
        end = await see_end(pair)
        controller.reset()
        return "; ".join(filter(None, [seen, end]))
    await still_serves(controller)
    await controller.close()
    return seen + "; connection goes on"


async def see_commands(*commands: Awaitable[Completion]) -> str:
    """The statuses of commands that are sent at once, of those that had one."""
    results = await asyncio.gather(*commands, return_exceptions=True)
    texts = []
    for result in results:
        if isinstance(result, Completion):
            texts.append(repr(result.status))
        elif not isinstance(result, Disconnected):
            raise result
    return "; ".join(texts)


def see_connect(answer: Completion) -> str:
    if answer.status.code == 0x182:
        where = "data" if answer.dw0 >> 16 & 1 else "command"
        return f"{answer.status!r}, offset {answer.dw0 & 0xFFFF} of the {where}"
    return repr(answer.status)


async def still_serves(controller: Controller) -> None:
    """The controller that was mistreated executes commands on both queues."""
    await controller.identify_controller()
    await controller.read(0, 1)


def ic_resp_of(pdu: Pdu) -> str:
    """For an ICReq that has to be taken."""
    if pdu.type != IC_RESP:
        return pdu.describe()
    pfv, cpda, dgst, maxh2cdata = struct.unpack_from("<HBBI", pdu.header, 8)
    return f"ICResp with DGST {dgst}"
