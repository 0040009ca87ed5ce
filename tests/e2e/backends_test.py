"""The same I/O with every way of talking to the kernel: epoll, and io_uring without each of its newer features."""

import asyncio
import os
import unittest

from engine_case import EngineCase
from nvme_tcp_host import FUA, CommandFailed, Controller

FEATURES = ["single_issuer", "cooperative_task_work", "buffer_ring", "multishot_accept", "registered_buffers",
            "ring_messages"]


class Backends(EngineCase):
    async def smoke(self, *options: str) -> str:
        """Returns the banner."""
        engine = self.engine("-l", "0,1", *options)
        disk = self.folder / "disk.img"
        with disk.open("wb") as file:
            file.truncate(16 << 20)
        for uri in ("malloc:///m0?size_mb=16", f"aio://{disk}"):
            with self.subTest(uri):
                nqn = engine.create_and_share(uri)
                for digests in (0, 3):
                    host = await Controller.connect("127.0.0.1", engine.port, nqn, io_queues=4, digests=digests)
                    await self.exercise(host, 1 << (12 if digests else 17))
                    await host.close()
        await self.expect_no_controllers(engine)
        engine.stop()
        return engine.banner

    async def exercise(self, host: Controller, largest: int) -> None:
        sizes = [512, 4096, min(largest, 65536), largest]
        blocks = [os.urandom(sizes[each % len(sizes)]) for each in range(16)]
        await asyncio.gather(*(host.write(each * 256, data, queue=each % 4, by_r2t=True if each % 2 else None)
                               for each, data in enumerate(blocks)))
        await host.flush()
        found = await asyncio.gather(*(host.read(each * 256, len(data) // 512, queue=(each + 1) % 4)
                                       for each, data in enumerate(blocks)))
        self.assertEqual(found, blocks)
        await host.write(0, bytes(4096), flags=FUA)
        await host.compare(0, bytes(4096), by_r2t=True)
        with self.assertRaises(CommandFailed) as different:
            await host.compare(0, b"x" * 512)
        self.assertEqual(different.exception.status, 0x285)
        await host.write_zeroes(256, 8)
        self.assertEqual(await host.read(256, 8), bytes(4096))

    async def test_io_uring(self) -> None:
        self.assertIn("io_uring", await self.smoke("--io-backend", "io_uring"))

    async def test_epoll(self) -> None:
        self.assertIn("epoll", await self.smoke("--io-backend", "epoll"))

    async def test_each_feature_missing(self) -> None:
        for feature in FEATURES:
            with self.subTest(feature):
                await self.smoke("--io-backend", "io_uring", "--io-uring-disable", feature)

    async def test_all_features_missing(self) -> None:
        await self.smoke("--io-backend", "io_uring", "--io-uring-disable", ",".join(FEATURES))

    async def test_spinning_for_ever_and_never(self) -> None:
        for budget in ("poll", "0"):
            with self.subTest(budget):
                await self.smoke("--spin-budget", budget)


if __name__ == "__main__":
    unittest.main()
