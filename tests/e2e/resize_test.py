"""A device that grows: hosts are told, and see the new size; by a command, and by the engine's own looking."""

import asyncio
import unittest

from engine_case import TIME_FACTOR, EngineCase
from nvme_tcp_host import CommandFailed, Controller

OLD_BLOCKS, NEW_BLOCKS = 16384, 32768
NAMESPACE_ATTRIBUTE_CHANGED = 0x00_04_00_02  # log page 4, information 0, type 2 (notice)
CHANGED_NAMESPACE_LIST = 4
ASYNC_EVENT_CONFIGURATION, NAMESPACE_ATTRIBUTE_NOTICES = 0x0B, 1 << 8
NOTICE_TIMEOUT_S = 60 * TIME_FACTOR


class Resize(EngineCase):
    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        self.disk = self.folder / "disk.img"
        self.grow(OLD_BLOCKS)
        self.under_test = self.engine("-l", "0,1")

    def grow(self, blocks: int) -> None:
        with self.disk.open("ab") as file:
            file.truncate(blocks * 512)

    async def watching_host(self, uri: str) -> tuple[Controller, asyncio.Task]:
        nqn = self.under_test.create_and_share(uri)
        host = await Controller.connect("127.0.0.1", self.under_test.port, nqn, io_queues=2)
        self.assertEqual(host.num_blocks, OLD_BLOCKS)
        await host.set_features(ASYNC_EVENT_CONFIGURATION, NAMESPACE_ATTRIBUTE_NOTICES)
        with self.assertRaises(CommandFailed) as refused:
            await host.read(OLD_BLOCKS, 1)
        self.assertEqual(refused.exception.status, 0x80)
        await host.write(0, b"kept".ljust(512, b"\0"))
        return host, host.async_event()

    async def expect_new_size(self, host: Controller, event: asyncio.Task) -> None:
        notice = await asyncio.wait_for(event, NOTICE_TIMEOUT_S)
        self.assertEqual(notice.dw0, NAMESPACE_ATTRIBUTE_CHANGED)
        changed = await host.get_log_page(CHANGED_NAMESPACE_LIST, 4096)
        self.assertEqual(changed, (1).to_bytes(4, "little").ljust(4096, b"\0"))
        # Read, it is empty.
        self.assertEqual(await host.get_log_page(CHANGED_NAMESPACE_LIST, 4096), bytes(4096))
        await host.identify_namespace()
        self.assertEqual(host.num_blocks, NEW_BLOCKS)
        for queue in (0, 1):
            await host.write(NEW_BLOCKS - 1 - queue, b"new".ljust(512, b"\0"), queue=queue)
            self.assertTrue((await host.read(NEW_BLOCKS - 1 - queue, 1, queue=1 - queue)).startswith(b"new"))
        self.assertTrue((await host.read(0, 1)).startswith(b"kept"))
        self.assertEqual(self.under_test.bdev(self.name)["NUM_BLOCKS"], str(NEW_BLOCKS))
        await host.close()

    async def test_a_file_by_rescan(self) -> None:
        self.name = str(self.disk)
        host, event = await self.watching_host(f"aio://{self.disk}")
        self.grow(NEW_BLOCKS)
        self.under_test.client("bdev", "create", f"aio://{self.disk}?rescan")
        await self.expect_new_size(host, event)

    async def test_a_file_by_itself(self) -> None:
        for scheme in ("aio", "uring"):
            with self.subTest(scheme):
                self.name = str(self.disk)
                self.disk.unlink()
                self.grow(OLD_BLOCKS)
                host, event = await self.watching_host(f"{scheme}://{self.disk}")
                self.grow(NEW_BLOCKS)
                await self.expect_new_size(host, event)
                self.under_test.client("bdev", "destroy", self.name)

    async def test_memory_by_resize(self) -> None:
        self.name = "m0"
        host, event = await self.watching_host("malloc:///m0?size_mb=8")
        self.under_test.client("bdev", "create", "malloc:///m0?size_mb=16&resize")
        await self.expect_new_size(host, event)


if __name__ == "__main__":
    unittest.main()
