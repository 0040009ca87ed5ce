"""Nexuses over replicas of real engines: life cycle and export, hosts' data, children that come and go, refusals, restarts."""

import asyncio
import json
import os
import subprocess
import unittest
import urllib.parse
import uuid

from engine_case import BIN, TIME_FACTOR, Engine, EngineCase, settled
from nvme_tcp_host import CommandFailed, Controller, Disconnected

import blobstore_image

MIB = 1 << 20
BLOCK = 512
DATA_START = 5 * MIB  # of a nexus, on its children
NQN = "nqn.2019-05.io.openebs:"
REPLICA_MIB = 24
RETIRE_TIMEOUT_S = 60 * TIME_FACTOR


class NexusCase(EngineCase):
    """Replicas `r0`, `r1`, ... of one volume, each on a pool of an engine of its own; the nexus is in the first engine."""

    def setUp(self) -> None:
        super().setUp()
        self.identity = str(uuid.uuid4())
        self.replicas = [str(uuid.uuid4()) for _ in range(4)]
        self.records = self.folder / "health"

    def engines(self, count: int, *options: str, **parameters) -> list[Engine]:
        engines = [self.engine("-l", "0", "--spin-budget", "0", "--child-health-dir", str(self.records), *options,
                               **parameters) for _ in range(count)]
        for index, engine in enumerate(engines):
            self.make_replica(engine, index)
        self.under_test = engines[0]
        return engines

    def disk(self, index: int):
        return self.folder / f"disk{index}.img"

    def make_replica(self, engine: Engine, index: int) -> None:
        with self.disk(index).open("wb") as file:
            file.truncate(64 * MIB)
        engine.client("pool", "create", f"pool{index}", f"aio://{self.disk(index)}")
        engine.client("replica", "create", f"r{index}", self.replicas[index], f"pool{index}", "--size", f"{REPLICA_MIB}MiB",
                      "--thin", *(["-p", "nvmf"] if index else []))

    def import_replica(self, engine: Engine, index: int) -> None:
        """After a restart: a pool knows which of its replicas were shared."""
        engine.client("pool", "import", f"pool{index}", f"aio://{self.disk(index)}")

    def uri(self, engine: Engine, index: int, parameters: str = "") -> str:
        if index == 0:
            return f"bdev:///r0?uuid={self.replicas[0]}"
        return (f"nvmf://127.0.0.1:{engine.port}/{urllib.parse.quote(f'{NQN}r{index}', safe=':')}"
                f"?uuid={self.replicas[index]}{parameters}")

    def uris(self, engines: list[Engine], parameters: str = "") -> list[str]:
        return [self.uri(engine, index, parameters) for index, engine in enumerate(engines)]

    def create(self, uris: list[str], *options: str, size: str = "16MiB") -> None:
        self.assertEqual(self.under_test.client("nexus", "create", self.identity, size, *uris, "--name", "nexus0", *options),
                         f"{self.identity}\n")

    def publish(self, *options: str) -> str:
        return self.under_test.client("nexus", "publish", self.identity, *options).removeprefix("Nexus published over: ").strip()

    def nexus(self) -> dict:
        (nexus,) = json.loads(self.under_test.client("-o", "json", "nexus", "list"))["nexus_list"]
        return nexus

    def child(self, uri: str) -> dict:
        (child,) = [each for each in self.nexus()["children"] if each["uri"] == uri]
        return child

    def child_states(self) -> list[list[str]]:
        """State and reason of each child."""
        rows = self.under_test.client("-q", "nexus", "children", self.identity).splitlines()
        return [row.split(" ", 1)[1].rsplit(maxsplit=1)[0].split(maxsplit=1) for row in rows]

    async def healthy(self, count: int) -> None:
        await settled(f"{count} children are online", lambda: self.child_states() == [["online", "-"]] * count,
                      self.child_states, RETIRE_TIMEOUT_S)

    async def host(self, **options) -> Controller:
        return await Controller.connect("127.0.0.1", self.under_test.port, NQN + "nexus0", **options)

    def record(self) -> dict:
        record = json.loads((self.records / f"{self.identity}.json").read_text())
        return {"clean": record["clean_shutdown"], **{each["uuid"]: each["healthy"] for each in record["children"]}}

    def load(self, uri: str, *options: str) -> subprocess.Popen:
        """Reads, writes and verifies until it is told to stop, or as `options` say."""
        process = subprocess.Popen([BIN / "casperf", "-t", "randrw", "-b", "4096", "-q", "8", "--verify", "--quiet", "-o", "json",
                                    "--spin-budget", "0", "-l", "0", *options, uri],
                                   text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def finished(self, load: subprocess.Popen) -> dict:
        out, err = load.communicate(timeout=120 * TIME_FACTOR)
        self.assertEqual(load.returncode, 0, f"{out}\n{err}")
        return json.loads(out)

    def refused(self, code: str, text: str, *command: str, engine: Engine | None = None) -> None:
        result = (engine or self.under_test).client_result(*command)
        self.assertEqual((result.returncode, result.stdout), (1, ""), command)
        self.assertTrue(result.stderr.startswith(f"error: {code}: "), (command, result.stderr))
        self.assertIn(text, result.stderr, command)

    def expect_identical_children(self, engines: list[Engine]) -> None:
        """Stops the engines and compares what the nexus' blocks hold on each disk."""
        for engine in engines:
            if engine.alive:
                engine.stop()
        contents = []
        for index in range(len(engines)):
            with blobstore_image.PoolImage(self.disk(index)) as image:
                contents.append(image.read(image.lvol(f"r{index}"), DATA_START, 16 * MIB - BLOCK))
        self.assertNotEqual(contents[0], bytes(len(contents[0])))
        for index, content in enumerate(contents[1:], start=1):
            self.assertTrue(content == contents[0], f"r{index} differs from r0")


class LifeCycle(NexusCase):
    async def test_create_publish_unpublish_destroy(self) -> None:
        engines = self.engines(3)
        uris = self.uris(engines)
        client = self.under_test.client
        self.assertEqual(client("nexus", "list"), "No nexus found\n")
        self.create(uris)
        header, row = client("nexus", "list", "-c").splitlines()
        self.assertEqual(header.split(), "NAME UUID SIZE STATE REBUILDS PATH CHILDREN".split())
        self.assertEqual(row.split(), ["nexus0", self.identity, str(16 * MIB), "online", "0", ",".join(uris)])
        self.assertEqual(client("-u", "i", "nexus", "list").splitlines()[1].split()[2:4], ["16.00", "MiB"])
        header, *rows = client("nexus", "children", self.identity).splitlines()
        self.assertEqual(header.split(), "NAME STATE REASON LAST_FAULTED_AT".split())
        self.assertEqual([row.split() for row in rows], [[uri, "online", "-", "-"] for uri in uris])
        self.assertEqual(self.record(), {"clean": False, **dict.fromkeys(self.replicas[:3], True)})

        path = f"nvmf+tcp://127.0.0.1:{self.under_test.port}/{NQN}nexus0"
        self.assertEqual(self.nexus()["device_uri"], "")
        self.assertEqual(self.publish(), path)
        self.assertEqual(self.publish(), path)
        nexus = self.nexus()
        self.assertEqual((nexus["device_uri"], nexus["allowed_hosts"], nexus["ana_state"]), (path, [], 1))
        row = self.under_test.bdev("nexus0")
        self.assertEqual((row["UUID"], row["NUM_BLOCKS"], row["CLAIMED_BY"], row["SHARE_URI"]),
                         (self.identity, str(16 * MIB // BLOCK - 1), "NVMe-oF Target", path))

        host = await self.host()
        await host.write(7, b"n" * BLOCK)
        self.assertEqual(await host.read(6, 3), bytes(BLOCK) + b"n" * BLOCK + bytes(BLOCK))
        data = await host.identify_namespace()
        self.assertEqual(data[104:120], uuid.UUID(self.identity).bytes)
        self.assertEqual(client("nexus", "unpublish", self.identity), f"{self.identity}\n")
        self.assertEqual(client("nexus", "unpublish", self.identity), f"{self.identity}\n")
        with self.assertRaises(Disconnected):
            await host.read(0, 1)
        with self.assertRaises(CommandFailed):
            await self.host()
        self.publish()
        host = await self.host()
        self.assertEqual(await host.read(7, 1), b"n" * BLOCK)
        self.assertEqual(client("nexus", "destroy", self.identity), f"{self.identity}\n")
        await host.close()
        self.assertEqual(client("nexus", "list"), "No nexus found\n")
        self.assertEqual(self.record(), {"clean": True, **dict.fromkeys(self.replicas[:3], True)})
        self.refused("NOT_FOUND", self.identity, "nexus", "destroy", self.identity)
        self.expect_identical_children(engines)


if __name__ == "__main__":
    unittest.main()
