"""Several reactors: the queue pairs of a controller live on different ones and see one device, one reservation."""

import asyncio
import os
import unittest

from engine_case import EngineCase
from nvme_tcp_host import CommandFailed, Controller

CONFLICT = 0x83
WRITE_EXCLUSIVE, EXCLUSIVE_ACCESS = 1, 2
QUEUES = 8


class Spread(EngineCase):
    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        self.under_test = self.engine("-l", "0,1")
        self.nqn = self.under_test.create_and_share("malloc:///m0?size_mb=16")

    async def connect(self, number: int = 1) -> Controller:
        return await Controller.connect("127.0.0.1", self.under_test.port, self.nqn, number=number, io_queues=QUEUES)

    def rounds(self) -> list[int]:
        return [each["rounds"] for each in self.under_test.json_rpc("framework_get_reactors")["reactors"]]

    async def test_queue_pairs_are_on_both_reactors(self) -> None:
        host = await self.connect()
        before = self.rounds()
        self.assertEqual(len(before), 2)
        for each in range(400):
            await host.read(each, 1, queue=each % QUEUES)
        self.assertGreater(min(now - then for now, then in zip(self.rounds(), before)), 100)
        await host.close()

    async def test_what_one_queue_wrote_all_read(self) -> None:
        host = await self.connect()
        for round_number in range(20):
            blocks = [os.urandom(4096) for _ in range(QUEUES)]
            await asyncio.gather(*(host.write(queue * 8, block, queue=queue, by_r2t=bool(round_number % 2))
                                   for queue, block in enumerate(blocks)))
            found = await asyncio.gather(*(host.read(queue * 8, 8, queue=(queue + 1 + round_number) % QUEUES)
                                           for queue in range(QUEUES)))
            self.assertEqual(found, blocks)
        await host.close()

    async def test_many_writers_of_one_block_leave_one_of_their_writes(self) -> None:
        host = await self.connect()
        for _ in range(20):
            blocks = [bytes([queue + 1]) * 512 for queue in range(QUEUES)]
            await asyncio.gather(*(host.write(5, block, queue=queue) for queue, block in enumerate(blocks)))
            self.assertIn(await host.read(5, 1), blocks)
        await host.close()

    async def test_a_reservation_fences_all_reactors_at_once(self) -> None:
        first, second = await self.connect(1), await self.connect(2)
        await first.register(1)
        for round_number in range(20):
            await first.acquire(1, EXCLUSIVE_ACCESS, queue=round_number % QUEUES)
            # Answered: from now on nobody else may do anything, on any reactor.
            results = await asyncio.gather(*(second.write(0, bytes(512), queue=queue) for queue in range(QUEUES)),
                                           return_exceptions=True)
            for result in results:
                self.assertIsInstance(result, CommandFailed)
                self.assertEqual(result.status, CONFLICT)
            await asyncio.gather(*(first.write(0, bytes(512), queue=queue) for queue in range(QUEUES)))
            await first.release(1, EXCLUSIVE_ACCESS, queue=(round_number + 3) % QUEUES)
            await asyncio.gather(*(second.write(0, bytes(512), queue=queue) for queue in range(QUEUES)))
        await first.close()
        await second.close()

    async def test_a_reservation_outlives_its_connection(self) -> None:
        first, second = await self.connect(1), await self.connect(2)
        await first.register(1)
        await first.acquire(1, WRITE_EXCLUSIVE)
        await first.close()
        with self.assertRaises(CommandFailed) as refused:
            await second.write(0, bytes(512), queue=1)
        self.assertEqual(refused.exception.status, CONFLICT)
        again = await self.connect(1)
        await again.write(0, bytes(512), queue=3)
        await again.close()
        await second.close()


if __name__ == "__main__":
    unittest.main()
