"""The health of children in a real etcd: what stands there after each step, and what a nexus does while etcd is away."""

import asyncio
import json
import unittest

from engine_case import Engine, settled
from nexus_test import BLOCK, RETIRE_TIMEOUT_S, NexusCase
from nvme_tcp_host import CommandFailed

import etcd_process

SHUT_DOWN = 5


class Store(NexusCase):
    def setUp(self) -> None:
        super().setUp()
        self.etcd = etcd_process.Etcd(self.folder / "etcd")
        self.etcd.start()
        self.addCleanup(self.etcd.kill)

    def engines(self, count: int, *options: str, **parameters) -> list[Engine]:
        engines = [self.engine("-l", "0", "--spin-budget", "0", "-p", self.etcd.endpoint, *options, **parameters)
                   for _ in range(count)]
        for index, engine in enumerate(engines):
            self.make_replica(engine, index)
        self.under_test = engines[0]
        return engines

    def expect_record(self, clean: bool, *healthy: bool, key: str | None = None) -> None:
        """The very bytes."""
        children = [{"uuid": self.replicas[index], "healthy": each} for index, each in enumerate(healthy)]
        expected = json.dumps({"clean_shutdown": clean, "children": children}, separators=(",", ":"))
        self.assertEqual(self.etcd.get(key or self.identity), expected)

    async def test_record_after_each_step(self) -> None:
        engines = self.engines(3)
        uris = self.uris(engines)
        self.assertIn(f"etcd at {self.etcd.endpoint}", self.under_test.banner)
        self.create(uris[:2])
        self.expect_record(False, True, True)
        self.under_test.client("nexus", "add", self.identity, uris[2])
        await self.healthy(3)
        self.expect_record(False, True, True, True)
        self.under_test.client("nexus", "child", "offline", self.identity, uris[1])
        self.expect_record(False, True, False, True)
        self.under_test.client("nexus", "child", "online", self.identity, uris[1])
        await self.healthy(3)
        self.expect_record(False, True, True, True)
        self.under_test.client("nexus", "remove", self.identity, uris[2])
        self.expect_record(False, True, True)
        self.under_test.kill()
        self.expect_record(False, True, True)
        self.under_test.start()
        self.import_replica(self.under_test, 0)
        self.create(uris[:2])
        self.expect_record(False, True, True)
        self.under_test.client("nexus", "destroy", self.identity)
        self.expect_record(True, True, True)

        key = "/openebs.io/mayastor/apis/v0/clusters/c/namespaces/n/volume/v/nexus/n/info"
        self.create(uris[:2], "--nexus-info-key", key)
        self.expect_record(False, True, True, key=key)
        self.under_test.stop()
        self.expect_record(True, True, True, key=key)
        self.assertEqual(sorted(self.etcd.keys()), sorted([self.identity, key]))

    async def lose_a_replica(self, engines: list[Engine]) -> asyncio.Task:
        """Gives a host's write that one of the two children misses."""
        self.create(self.uris(engines))
        self.publish()
        self.connected = await self.host()
        await self.connected.write(0, b"1" * BLOCK)
        self.take_etcd_away()
        engines[1].kill()
        write = asyncio.create_task(self.connected.write(0, b"2" * BLOCK))
        await settled("the child leaves", lambda: self.child_states()[1][1] == "I/O failure", self.child_states,
                      RETIRE_TIMEOUT_S)
        return write

    async def test_writes_wait_while_etcd_stands_still(self) -> None:
        self.take_etcd_away = self.etcd.pause
        engines = self.engines(2, "--ps-timeout", "1s")
        write = await self.lose_a_replica(engines)
        self.assertEqual(await self.connected.read(8, 1), bytes(BLOCK))
        self.assertFalse(write.done())
        self.etcd.resume()
        await write
        self.expect_record(False, True, False)
        self.assertEqual(await self.connected.read(0, 1), b"2" * BLOCK)
        await self.connected.close()

    async def test_writes_wait_until_etcd_is_started_again(self) -> None:
        self.take_etcd_away = self.etcd.kill
        engines = self.engines(2, "--ps-timeout", "1s", "--ps-retries", "1", "--ps-wait")
        write = await self.lose_a_replica(engines)
        await settled("it has tried more than once", lambda: "cannot be saved" in engines[0].log_path.read_text())
        await self.connected.read(8, 1)
        self.assertFalse(write.done())
        self.etcd.start()
        await write
        self.expect_record(False, True, False)
        await self.connected.close()

    async def test_without_etcd_nothing_is_acknowledged(self) -> None:
        self.take_etcd_away = self.etcd.kill
        engines = self.engines(2, "--ps-timeout", "1s", "--ps-retries", "3")
        write = await self.lose_a_replica(engines)
        with self.assertRaises(CommandFailed):
            await write
        await settled("the nexus is shut down", lambda: self.nexus()["state"] == SHUT_DOWN, self.nexus)
        await self.connected.close()
        self.etcd.start()
        self.expect_record(False, True, True)  # of before: no write was acknowledged that contradicts it
        self.under_test.client("nexus", "destroy", self.identity)
        self.expect_record(False, True, True)

    async def test_engines_start_and_refuse_without_etcd(self) -> None:
        self.etcd.kill()
        engines = self.engines(1, "--ps-timeout", "1s", "--ps-retries", "2")
        self.refused("INTERNAL", "Failed to save the state of nexus", "nexus", "create", self.identity, "16MiB",
                     *self.uris(engines), "--name", "nexus0")
        self.assertEqual(self.under_test.client("nexus", "list"), "No nexus found\n")
        self.etcd.start()
        self.create(self.uris(engines))
        self.expect_record(False, True)


if __name__ == "__main__":
    unittest.main()
