"""A volume moves: a second nexus takes over the replicas of one that is still alive, which cannot write any more."""

import asyncio
import unittest

from engine_case import Engine, settled
from nexus_test import BLOCK, DATA_START, NQN, NexusCase
from nvme_tcp_host import CommandFailed, Controller

import blobstore_image

RESERVATION_CONFLICT = 0x083
SHUT_DOWN = 5
OLD_KEY, NEW_KEY = "1001", "1002"


class Move(NexusCase):
    """Replicas `r1` and `r2` on engines of their own; the old nexus in one more, the new one in another."""

    def site(self, *options: str) -> None:
        common = ("-l", "0", "--spin-budget", "0", "--child-health-dir", str(self.records))
        self.storage = [self.engine(*common, *options) for _ in range(2)]
        for index, engine in enumerate(self.storage, start=1):
            self.make_replica(engine, index)
        self.old, self.new = (self.engine(*common, "-N", name) for name in ("old", "new"))
        self.replica_uris = [self.uri(engine, index) for index, engine in enumerate(self.storage, start=1)]

    def create_on(self, engine: Engine, *options: str) -> None:
        engine.client("nexus", "create", self.identity, "16MiB", *self.replica_uris, "--name", "nexus0", *options)
        engine.client("nexus", "publish", self.identity)

    async def host_of(self, engine: Engine) -> Controller:
        return await Controller.connect("127.0.0.1", engine.port, NQN + "nexus0")

    async def expect_shut_down(self, engine: Engine) -> None:
        self.under_test = engine
        await settled("the old nexus is shut down", lambda: self.nexus()["state"] == SHUT_DOWN, self.nexus)

    def expect_on_replicas(self, data: bytes) -> None:
        for engine in (self.new, self.old, *self.storage):
            engine.stop()
        for index in (1, 2):
            with blobstore_image.PoolImage(self.disk(index)) as image:
                self.assertEqual(image.read(image.lvol(f"r{index}"), DATA_START, len(data)), data, f"r{index}")

    async def test_from_an_engine_that_stands_still(self) -> None:
        await self.move("WriteExclusive")

    async def test_from_an_engine_that_stands_still_with_the_type_of_the_control_plane(self) -> None:
        await self.move("WriteExclusiveAllRegs")

    async def move(self, kind: str) -> None:
        self.site()
        self.create_on(self.old, "--resv-key", OLD_KEY, "--resv-type", kind)
        old_host = await self.host_of(self.old)
        await old_host.write(0, b"1" * BLOCK)
        self.old.freeze()
        late = asyncio.create_task(old_host.write(0, b"9" * BLOCK))
        self.create_on(self.new, "--resv-key", NEW_KEY, "--preempt-key", OLD_KEY, "--resv-type", kind)
        new_host = await self.host_of(self.new)
        self.assertEqual(await new_host.read(0, 1), b"1" * BLOCK)
        await new_host.write(0, b"2" * BLOCK)
        self.old.thaw()
        with self.assertRaises(CommandFailed) as fenced:
            await late
        self.assertEqual(fenced.exception.status, RESERVATION_CONFLICT)
        await self.expect_shut_down(self.old)
        with self.assertRaises(CommandFailed) as fenced:
            await old_host.write(0, b"9" * BLOCK)
        self.assertEqual(fenced.exception.status, RESERVATION_CONFLICT)
        self.assertEqual(await new_host.read(0, 1), b"2" * BLOCK)
        await new_host.write(1, b"3" * BLOCK)
        for host in (old_host, new_host):
            await host.close()
        self.expect_on_replicas(b"2" * BLOCK + b"3" * BLOCK)

    async def test_refused_without_the_old_key(self) -> None:
        self.site()
        self.create_on(self.old, "--resv-key", OLD_KEY, "--resv-type", "WriteExclusive")
        self.refused("INTERNAL", "Failed to acquire write exclusive reservation on child nvmf://", "nexus", "create",
                     self.identity, "16MiB", *self.replica_uris, "--name", "nexus0", "--resv-key", NEW_KEY, "--resv-type",
                     "WriteExclusive", engine=self.new)
        host = await self.host_of(self.old)
        await host.write(0, b"1" * BLOCK)
        await host.close()
        self.old.client("nexus", "destroy", self.identity)
        # The reservation stays, so that an older nexus could not come back; the key takes it over.
        self.create_on(self.new, "--resv-key", NEW_KEY, "--preempt-key", OLD_KEY, "--resv-type", "WriteExclusive")
        host = await self.host_of(self.new)
        self.assertEqual(await host.read(0, 1), b"1" * BLOCK)
        await host.write(0, b"2" * BLOCK)
        await host.close()

    async def test_reservations_last_through_a_kill_of_the_replicas_engines(self) -> None:
        self.site("--ptpl-dir", str(self.folder / "ptpl"))
        self.create_on(self.old, "--resv-key", OLD_KEY, "--resv-type", "WriteExclusive")
        old_host = await self.host_of(self.old)
        await old_host.write(0, b"1" * BLOCK)
        self.create_on(self.new, "--resv-key", NEW_KEY, "--preempt-key", OLD_KEY, "--resv-type", "WriteExclusive")
        new_host = await self.host_of(self.new)
        for index, engine in enumerate(self.storage, start=1):
            engine.kill()
            engine.start()
            self.import_replica(engine, index)
        await new_host.write(0, b"2" * BLOCK)
        with self.assertRaises(CommandFailed) as fenced:
            await old_host.write(0, b"9" * BLOCK)
        self.assertEqual(fenced.exception.status, RESERVATION_CONFLICT)
        await self.expect_shut_down(self.old)
        for host in (old_host, new_host):
            await host.close()
        self.expect_on_replicas(b"2" * BLOCK)


if __name__ == "__main__":
    unittest.main()
