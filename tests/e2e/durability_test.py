"""kill -9 of the engine: what was acknowledged before a flush is there when it comes back, and so are reservations."""

import asyncio
import contextlib
import struct
import unittest

from engine_case import TIME_FACTOR, Engine, EngineCase, settled
from nvme_tcp_host import CommandFailed, Controller, Disconnected, host_id_of

BLOCK = 4096
BLOCKS = 512  # a writer's share of the device
WRITERS = 4
FLUSHES_BEFORE_KILL = 8  # in four rounds every block is written
ROUNDS = 4
FLUSHES_TIMEOUT_S = 240 * TIME_FACTOR  # a flush of a busy disk takes seconds

WRITE_EXCLUSIVE, EXCLUSIVE_ACCESS_ALL = 1, 6
CONFLICT = 0x83


class Writer:
    """Writes its part of the device over and over, each block with a number that grows; knows what a flush covers."""

    def __init__(self, number: int):
        self.first = number * BLOCKS
        self.sequence = 0
        self.batches = 0
        self.written = [0] * BLOCKS  # newest number sent to the block
        self.acknowledged = [0] * BLOCKS
        self.flushed = [0] * BLOCKS
        self.flushes = 0

    def block(self, index: int, sequence: int) -> bytes:
        return struct.pack("<QQ", self.first + index, sequence) * (BLOCK // 16)

    async def run(self, host: Controller, queue: int) -> None:
        with contextlib.suppress(Disconnected):
            while True:
                await asyncio.gather(*(self.write(host, queue, index) for index in self.next_indices(16)))
                covered = list(self.acknowledged)
                await host.flush(queue=queue)
                self.flushed = covered
                self.flushes += 1

    def next_indices(self, count: int) -> list[int]:
        # No two alike: writes under way at a time must not overlap. All blocks get their turn.
        self.batches += 1
        return [self.batches * 7 % (BLOCKS // count) + each * (BLOCKS // count) for each in range(count)]

    async def write(self, host: Controller, queue: int, index: int) -> None:
        self.sequence += 1
        sequence = self.written[index] = self.sequence
        await host.write(self.first + index, self.block(index, sequence), queue=queue, by_r2t=bool(sequence % 2))
        self.acknowledged[index] = sequence

    async def check(self, host: Controller) -> list[str]:
        """What is wrong."""
        wrong = []
        for start in range(0, BLOCKS, 32):
            data = await host.read(self.first + start, 32)
            for index in range(start, start + 32):
                found = data[(index - start) * BLOCK:(index - start + 1) * BLOCK]
                lba, sequence = struct.unpack_from("<QQ", found)
                if self.flushed[index] == 0 and found == bytes(BLOCK):
                    continue
                if (lba != self.first + index or found != self.block(index, sequence) or
                        not self.flushed[index] <= sequence <= self.written[index]):
                    wrong.append(f"block {self.first + index} holds number {sequence} of block {lba}; "
                                 f"{self.flushed[index]} was flushed, {self.written[index]} the last written")
                self.written[index] = self.acknowledged[index] = self.flushed[index] = sequence
        return wrong


class Durability(EngineCase):
    async def test_flushed_writes_outlive_kill_9(self) -> None:
        disk = self.folder / "disk.img"
        with disk.open("wb") as file:
            file.truncate(WRITERS * BLOCKS * BLOCK)
        uri = f"aio://{disk}?blk_size={BLOCK}"
        engine = self.engine("-l", "0,1")
        writers = [Writer(each) for each in range(WRITERS)]
        for attempt in range(ROUNDS):
            with self.subTest(round=attempt):
                nqn = engine.create_and_share(uri)
                host = await Controller.connect("127.0.0.1", engine.port, nqn, io_queues=WRITERS)
                for writer in writers:
                    self.assertEqual(await writer.check(host), [])
                    writer.flushes = 0
                tasks = [asyncio.create_task(writer.run(host, queue)) for queue, writer in enumerate(writers)]
                await settled("the writers flush or one has failed", lambda: any(each.done() for each in tasks) or min(
                    each.flushes for each in writers) >= FLUSHES_BEFORE_KILL, lambda: [each.flushes for each in writers],
                    FLUSHES_TIMEOUT_S)
                engine.kill()
                await asyncio.wait_for(asyncio.gather(*tasks), 30 * TIME_FACTOR)
                host.reset()
                engine.start()
        nqn = engine.create_and_share(uri)
        host = await Controller.connect("127.0.0.1", engine.port, nqn)
        for writer in writers:
            self.assertEqual(await writer.check(host), [])
        await host.close()


class PersistentReservations(EngineCase):
    URI = "malloc:///m0?size_mb=8&uuid=6f1a2b3c-0000-4000-8000-00000000beef"

    async def again(self, engine: Engine) -> str:
        engine.kill()
        engine.start()
        return engine.create_and_share(self.URI)

    async def connect(self, engine: Engine, nqn: str, *numbers: int) -> list[Controller]:
        return [await Controller.connect("127.0.0.1", engine.port, nqn, number=each) for each in numbers]

    async def test_reservations_persist_through_kill_9(self) -> None:
        engine = self.engine("--ptpl-dir", str(self.folder / "ptpl"))
        nqn = engine.create_and_share(self.URI)
        first, second, third = await self.connect(engine, nqn, 1, 2, 3)
        await first.register(0xA1, persist=3)
        await second.register(0xB2)
        await first.acquire(0xA1, WRITE_EXCLUSIVE)
        self.assertEqual((await third.reservation_report())["ptpl"], 1)

        nqn = await self.again(engine)
        first, second, third = await self.connect(engine, nqn, 1, 2, 3)
        report = await third.reservation_report()
        self.assertEqual((report["type"], report["ptpl"]), (WRITE_EXCLUSIVE, 1))
        self.assertEqual(report["registrants"], {host_id_of(1): (0xA1, True), host_id_of(2): (0xB2, False)})
        await first.write(0, bytes(512))
        for fenced in (second, third):
            with self.assertRaises(CommandFailed) as refused:
                await fenced.write(0, bytes(512))
            self.assertEqual(refused.exception.status, CONFLICT)
            await fenced.read(0, 1)
        # The second host takes over with its key of before the crash; that persists as well.
        await second.acquire(0xB2, EXCLUSIVE_ACCESS_ALL, action=1, preempt=0xA1)
        nqn = await self.again(engine)
        first, second = await self.connect(engine, nqn, 1, 2)
        report = await second.reservation_report()
        self.assertEqual(report["type"], EXCLUSIVE_ACCESS_ALL)
        self.assertEqual(report["registrants"], {host_id_of(2): (0xB2, True)})
        with self.assertRaises(CommandFailed) as refused:
            await first.read(0, 1)
        self.assertEqual(refused.exception.status, CONFLICT)

    async def test_reservations_without_persistence_end_with_the_engine(self) -> None:
        engine = self.engine("--ptpl-dir", str(self.folder / "ptpl"))
        nqn = engine.create_and_share(self.URI)
        first, = await self.connect(engine, nqn, 1)
        await first.register(0xA1)
        await first.acquire(0xA1, WRITE_EXCLUSIVE)
        nqn = await self.again(engine)
        second, = await self.connect(engine, nqn, 2)
        report = await second.reservation_report()
        self.assertEqual((report["type"], report["ptpl"], report["registrants"]), (0, 0, {}))
        await second.write(0, bytes(512))

    async def test_persistence_that_was_ended_leaves_nothing(self) -> None:
        engine = self.engine("--ptpl-dir", str(self.folder / "ptpl"))
        nqn = engine.create_and_share(self.URI)
        first, = await self.connect(engine, nqn, 1)
        await first.register(0xA1, persist=3)
        await first.register(0xA1, persist=2, ignore=True, action=2)
        nqn = await self.again(engine)
        first, = await self.connect(engine, nqn, 1)
        self.assertEqual((await first.reservation_report())["registrants"], {})

    async def test_without_a_directory_persistence_is_refused(self) -> None:
        engine = self.engine()
        nqn = engine.create_and_share(self.URI)
        first, = await self.connect(engine, nqn, 1)
        with self.assertRaises(CommandFailed) as refused:
            await first.register(0xA1, persist=3)
        self.assertEqual(refused.exception.status, 0x02)


if __name__ == "__main__":
    unittest.main()
