"""Nexuses over replicas of real engines: life cycle and export, hosts' data, children that come and go, refusals, restarts."""

import asyncio
import json
import os
import pathlib
import subprocess
import unittest
import urllib.parse
import uuid

from engine_case import BIN, TIME_FACTOR, Engine, EngineCase, settled
from nvme_tcp_host import CommandFailed, Controller, Disconnected, host_nqn_of

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
        engines.reverse()  # the last one that was started is stopped first: its nexus finds its children
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
        process = subprocess.Popen([BIN / "casperf", "-q", "8", "--verify", "--quiet", "-o", "json", "--spin-budget", "0",
                                    "-l", "0", *(options if "-t" in options else ("-t", "randrw", "-b", "4096", *options)), uri],
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
        for engine in engines:  # the one of the nexus first
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

    async def test_what_hosts_see(self) -> None:
        engines = self.engines(2, environment={"NEXUS_NVMF_ANA_ENABLE": "1"})
        client = self.under_test.client
        self.create(self.uris(engines), "--min-cntlid", "100", "--max-cntlid", "101")
        allowed, other = host_nqn_of(1), host_nqn_of(2)
        self.publish("--allowed-host", allowed)
        self.assertEqual(self.nexus()["allowed_hosts"], [allowed])
        with self.assertRaises(CommandFailed):
            await self.host(number=2)
        host = await self.host(number=1)
        self.assertEqual(host.cntlid, 100)
        boot_id = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        self.assertEqual((await host.identify_controller())[3136:3152], uuid.UUID(boot_id).bytes)
        self.publish("--allowed-host", other)
        await host.admin.wait_end()
        host.reset()
        self.publish()
        self.assertEqual(self.nexus()["allowed_hosts"], [])

        host = await self.host()
        await host.write(0, b"a" * BLOCK)
        self.assertEqual(client("nexus", "ana_state", self.identity), "optimized\n")
        for state, number in (("non_optimized", 2), ("inaccessible", 3)):
            self.assertEqual(client("nexus", "ana_state", self.identity, state), f"{self.identity}\n")
            self.assertEqual(client("nexus", "ana_state", self.identity), f"{state}\n")
            self.assertEqual(self.nexus()["ana_state"], number)
            self.assertEqual((await host.get_log_page(0x0C, 64))[32], number)
        with self.assertRaises(CommandFailed):
            await host.read(0, 1)
        client("nexus", "ana_state", self.identity, "optimized")
        self.assertEqual(await host.read(0, 1), b"a" * BLOCK)

        client("stats", "reset")
        await host.write(0, bytes(4 * BLOCK))
        await host.read(0, 2)
        (stats,) = json.loads(client("-o", "json", "stats", "nexus", "nexus0"))["stats"]
        self.assertEqual([stats[each] for each in ("uuid", "num_write_ops", "bytes_written", "num_read_ops", "bytes_read")],
                         [self.identity, 1, 4 * BLOCK, 1, 2 * BLOCK])
        (replica,) = json.loads(client("-o", "json", "stats", "replica", "r0"))["stats"]
        self.assertGreaterEqual(replica["stats"]["bytes_written"], 4 * BLOCK)
        await host.close()

    async def test_shut_down(self) -> None:
        engines = self.engines(2)
        self.create(self.uris(engines))
        self.publish()
        host = await self.host()
        await host.write(0, b"s" * BLOCK)
        client = self.under_test.client
        for _ in range(2):
            self.assertEqual(client("nexus", "shutdown", self.identity), f"{self.identity}\n")
            self.assertEqual(self.nexus()["state"], 5)
        self.assertEqual(client("-q", "nexus", "list").split()[3], "shutdown")
        self.assertTrue(self.record()["clean"])
        waiting = asyncio.create_task(host.read(0, 1))
        await host.keep_alive()
        self.assertFalse(waiting.done())
        for command in (["resize", self.identity, "32MiB"], ["add", self.identity, self.uri(engines[1], 1)],
                        ["remove", self.identity, self.uri(engines[1], 1)], ["ana_state", self.identity, "inaccessible"],
                        ["child", "offline", self.identity, self.uri(engines[1], 1)]):
            self.refused("FAILED_PRECONDITION", "shutdown", "nexus", *command)
        client("nexus", "destroy", self.identity)
        with self.assertRaises(Disconnected):
            await waiting
        self.create(self.uris(engines))
        self.publish()
        host = await self.host()
        self.assertEqual(await host.read(0, 1), b"s" * BLOCK)
        await host.close()

    async def test_resize(self) -> None:
        engines = self.engines(2)
        client = self.under_test.client
        self.create(self.uris(engines), size="12MiB")
        self.publish()
        host = await self.host()
        await host.identify_namespace()
        self.assertEqual(host.num_blocks, 12 * MIB // BLOCK - 1)
        event = host.async_event()
        self.assertEqual(client("nexus", "resize", self.identity, "16MiB"), f"Resized nexus {self.identity} to {16 * MIB}\n")
        await event
        await host.identify_namespace()
        self.assertEqual((host.num_blocks, self.nexus()["size"]), (16 * MIB // BLOCK - 1, 16 * MIB))
        await host.write(host.num_blocks - 1, b"z" * BLOCK)
        client("nexus", "resize", self.identity, "16MiB")
        self.refused("FAILED_PRECONDITION", "only grow", "nexus", "resize", self.identity, "12MiB")
        await host.close()


class Failures(NexusCase):
    async def test_replica_engine_killed_and_back_before_anybody_waits(self) -> None:
        """Its node was up all the time, so nothing is copied, although nobody had flushed."""
        engines = self.engines(3, "--no-intent-log")
        self.create(self.uris(engines))
        self.publish()
        host = await self.host()
        await host.write(0, b"1" * BLOCK)
        connected = f"connected to 127.0.0.1:{engines[2].port}"
        log = lambda: self.under_test.log_path.read_text()  # noqa: E731
        before = log().count(connected)
        engines[2].kill()
        engines[2].start()
        self.import_replica(engines[2], 2)
        await settled("the child is connected again", lambda: log().count(connected) > before, log)
        await host.write(1, b"2" * BLOCK)
        await host.close()
        self.assertEqual(self.child_states(), [["online", "-"]] * 3)
        history = self.under_test.client("-o", "json", "rebuild", "history", self.identity)
        self.assertEqual(json.loads(history)["records"], [])

    async def test_replica_engine_killed_and_back(self) -> None:
        engines = self.engines(3)
        uris = self.uris(engines)
        client = self.under_test.client
        self.create(uris)
        path = self.publish().replace("nvmf+tcp", "nvmf")
        self.finished(self.load(path, "-n", "2000"))
        host = await self.host()
        await host.flush()  # what a replica may have in its cache is copied again too
        await host.close()
        load = self.load(path, "-d", "20s", "--offset", "1MiB", "--size", "2MiB")
        await settled("the load writes", lambda: self.writes() > 3000, self.writes)
        engines[2].kill()
        await settled("the child is retired", lambda: self.child(uris[2])["state"] == 3, self.nexus, RETIRE_TIMEOUT_S)
        await settled("its log is kept", lambda: self.child(uris[2])["has_io_log"], self.nexus)
        self.assertRegex(self.child(uris[2])["fault_timestamp"], r"^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d")
        self.assertEqual(self.nexus()["state"], 2)
        self.assertEqual(self.record(), {"clean": False, **dict(zip(self.replicas, (True, True, False)))})
        written = self.writes()
        await settled("the load goes on", lambda: self.writes() > written + 100)
        engines[2].start()
        self.import_replica(engines[2], 2)
        self.assertEqual(client("nexus", "child", "online", self.identity, uris[2]), f"{uris[2]}\n")
        self.finished(load)
        await self.healthy(3)
        self.assertEqual(self.record(), {"clean": False, **dict.fromkeys(self.replicas[:3], True)})
        header, row = client("rebuild", "history", self.identity).splitlines()
        self.assertEqual(header.split(), "CHILD SOURCE TOTAL TRANSFERRED STATE BLK_PER_TASK BLK_SIZE PARTIAL START END".split())
        cells = row.split()
        self.assertEqual([cells[index] for index in (0, 1, 2, 4, 5, 6, 7)],
                         [uris[2], uris[0], str(16 * MIB // BLOCK - 1), "completed", "128", "512", "true"])
        self.assertLess(int(cells[3]), 6 * MIB // BLOCK)
        # What was read back is right on every replica.
        for index in (0, 1):
            client("nexus", "child", "offline", self.identity, uris[index])
        self.finished(self.load(path, "-n", "2000"))
        for index in (0, 1):
            client("nexus", "child", "online", self.identity, uris[index])
        await self.healthy(3)
        client("nexus", "destroy", self.identity)
        self.expect_identical_children(engines)

    def writes(self) -> int:
        (stats,) = json.loads(self.under_test.client("-o", "json", "stats", "nexus", "nexus0"))["stats"]
        return stats["num_write_ops"]

    async def test_last_replica_lost(self) -> None:
        """The volume freezes: I/O waits; the nexus can be unpublished and destroyed all the same."""
        engines = self.engines(2)
        uri = self.uri(engines[1], 1)
        client = self.under_test.client
        fast = uri + "&retry_window_ms=1000"
        self.create([fast])
        self.publish()
        host = await self.host(kato_ms=0)
        await host.write(0, b"l" * BLOCK)
        engines[1].kill()
        waiting = [asyncio.create_task(host.io[0].command(0x01, nsid=1, cdw12=0, data=b"m" * BLOCK, timeout_s=0)),
                   asyncio.create_task(host.io[0].command(0x02, nsid=1, cdw12=0, in_length=BLOCK, timeout_s=0))]
        await settled("the nexus is faulted", lambda: self.nexus()["state"] == 3, self.nexus, RETIRE_TIMEOUT_S)
        await host.keep_alive()
        self.assertFalse(any(each.done() for each in waiting))
        self.refused("FAILED_PRECONDITION", "frozen", "nexus", "child", "online", self.identity, fast)
        self.refused("FAILED_PRECONDITION", "frozen", "nexus", "ana_state", self.identity, "inaccessible")
        client("nexus", "unpublish", self.identity)
        for each in waiting:
            with self.assertRaises(Disconnected):
                await each
        self.publish()
        client("nexus", "destroy", self.identity)
        self.assertEqual(self.record(), {"clean": False, self.replicas[1]: True})

        engines[1].start()
        self.import_replica(engines[1], 1)
        self.create([fast])
        self.publish()
        host = await self.host()
        self.assertIn(await host.read(0, 1), (b"l" * BLOCK, b"m" * BLOCK))
        # Nor does it hold up the end of the engine.
        engines[1].kill()
        last = asyncio.create_task(host.io[0].command(0x01, nsid=1, cdw12=0, data=b"n" * BLOCK, timeout_s=0))
        await settled("the nexus is faulted", lambda: self.nexus()["state"] == 3, self.nexus, RETIRE_TIMEOUT_S)
        await asyncio.to_thread(self.under_test.stop)
        with self.assertRaises(Disconnected):
            await last

    async def test_nexus_engine_ends_and_is_back(self) -> None:
        engines = self.engines(3)
        uris = self.uris(engines)
        self.create(uris)
        path = self.publish().replace("nvmf+tcp", "nvmf")
        self.finished(self.load(path, "-n", "2000"))
        load = self.load(path, "-d", "60s")
        await settled("the load writes", lambda: self.writes() > 1500, self.writes)
        self.under_test.kill()
        load.kill()
        self.assertEqual(self.record(), {"clean": False, **dict.fromkeys(self.replicas[:3], True)})
        for clean in (False, True):
            self.under_test.start()
            self.import_replica(self.under_test, 0)
            self.assertEqual(self.under_test.client("nexus", "list"), "No nexus found\n")
            self.create(uris)
            self.publish()
            self.finished(self.load(path, "-n", "2000"))
            if not clean:
                self.under_test.stop()
                self.assertEqual(self.record(), {"clean": True, **dict.fromkeys(self.replicas[:3], True)})
        await self.healthy(3)
        self.expect_identical_children(engines)


class Children(NexusCase):
    async def test_add_remove_and_rebuild(self) -> None:
        engines = self.engines(3, "--rebuild-limit", "2MiB")
        uris = self.uris(engines)
        client = self.under_test.client
        rebuild = lambda verb: client("rebuild", verb, self.identity, uris[1])
        self.create(uris[:1])
        path = self.publish().replace("nvmf+tcp", "nvmf")
        self.finished(self.load(path, "-t", "randwrite", "-b", "65536", "-n", "400"))
        self.assertEqual(client("nexus", "add", self.identity, uris[1], "true"), f"{self.identity}\n")
        self.assertEqual(self.child_states(), [["online", "-"], ["degraded", "out of sync"]])
        self.assertEqual(self.record(), {"clean": False, self.replicas[0]: True, self.replicas[1]: False})
        self.refused("NOT_FOUND", "Rebuild job not found", "rebuild", "state", self.identity, uris[1])
        self.assertEqual(rebuild("start"), f"{uris[1]}\n")
        self.refused("INTERNAL", "already exists", "rebuild", "start", self.identity, uris[1])
        self.assertEqual(rebuild("state").split(), ["state", "running"])
        self.assertEqual((self.nexus()["rebuilds"], self.nexus()["state"]), (1, 2))
        self.assertIn(self.child(uris[1])["rebuild_progress"], range(100))
        self.assertEqual(rebuild("pause"), f"{uris[1]}\n")
        self.assertEqual(rebuild("state").split(), ["state", "paused"])
        self.assertEqual(rebuild("resume"), f"{uris[1]}\n")
        header, row = rebuild("stats").splitlines()
        self.assertEqual(header.replace("PROGRESS (%)", "PROGRESS").split(),
                         "TOTAL RECOVERED TRANSFERRED REMAINING PROGRESS BLK_PER_TASK BLK_SIZE PARTIAL TASKS_TOTAL "
                         "TASKS_ACTIVE".split())
        cells = row.split()
        self.assertEqual([cells[index] for index in (0, 5, 6, 7)], [str(16 * MIB // BLOCK - 1), "128", "512", "false"])
        self.assertEqual(int(cells[1]) + int(cells[3]), int(cells[0]))
        self.assertRegex(rebuild("progress"), r"^progress \(%\)\n\d+ *\n$")
        self.assertEqual(rebuild("stop"), f"{uris[1]}\n")
        await settled("the rebuild has ended", lambda: self.nexus()["rebuilds"] == 0)
        self.assertEqual(self.child_states()[1], ["degraded", "out of sync"])
        client("nexus", "remove", self.identity, uris[1])
        self.assertEqual(client("nexus", "remove", self.identity, uris[1]), f"Removed {uris[1]} from specified nexus\n")
        self.assertEqual(self.record(), {"clean": False, self.replicas[0]: True})
        for uri in uris[1:]:
            client("nexus", "add", self.identity, uri)
        self.refused("ALREADY_EXISTS", uris[1], "nexus", "add", self.identity, uris[1])
        self.finished(self.load(path, "-n", "500"))
        await self.healthy(3)
        history = json.loads(client("-o", "json", "rebuild", "history", self.identity))
        self.assertEqual([(each["child_uri"], each["state"], each["is_partial"]) for each in history["records"]][0],
                         (uris[1], 2, False))
        self.assertEqual(sorted(each["child_uri"] for each in history["records"][1:]), sorted(uris[1:]))
        self.assertEqual({each["state"] for each in history["records"][1:]}, {5})

        for verb, state, reason in (("offline", "degraded", "by client"), ("retire", "faulted", "I/O failure"),
                                    ("fault", "faulted", "by client")):
            self.assertEqual(client("nexus", "child", verb, self.identity, uris[2]), f"{uris[2]}\n")
            await settled(f"the child is {state}", lambda: self.child_states()[2] == [state, reason], self.child_states)
            if verb != "fault":
                client("nexus", "child", "online", self.identity, uris[2])
                await self.healthy(3)
        self.refused("INTERNAL", "permanently", "nexus", "child", "online", self.identity, uris[2])
        client("nexus", "child", "offline", self.identity, uris[1])
        for verb in ("offline", "retire", "fault"):
            self.refused("FAILED_PRECONDITION", "last child", "nexus", "child", verb, self.identity, uris[0])
        self.refused("FAILED_PRECONDITION", "last child", "nexus", "remove", self.identity, uris[0])
        client("nexus", "child", "online", self.identity, uris[1])
        client("nexus", "remove", self.identity, uris[2])
        client("nexus", "add", self.identity, uris[2])
        await self.healthy(3)
        client("nexus", "destroy", self.identity)
        self.expect_identical_children(engines)

    async def test_histories_of_all_nexuses(self) -> None:
        engines = self.engines(2)
        uris = self.uris(engines)
        client = self.under_test.client

        def histories(**request: object) -> dict:
            return json.loads(client("call", "NexusRpc/ListRebuildHistory", json.dumps(request)))

        self.assertEqual(histories()["histories"], {})
        self.create(uris)
        self.assertEqual(histories()["histories"], {})  # none without a rebuild
        for rebuilds in (1, 2, 3):
            client("nexus", "child", "offline", self.identity, uris[1])
            client("nexus", "child", "online", self.identity, uris[1])
            await self.healthy(2)
            await settled("it is in the history",
                          lambda: len(histories()["histories"].get(self.identity, {"records": []})["records"]) == rebuilds)
        oldest_first = json.loads(client("-o", "json", "rebuild", "history", self.identity))["records"]
        ends = [each["end_time"] for each in oldest_first]
        self.assertEqual(ends, sorted(set(ends)))
        listed = histories()
        self.assertEqual(listed["histories"], {self.identity: {"uuid": self.identity, "name": "nexus0", "records": oldest_first[::-1]}})
        self.assertEqual(listed["end_time"], ends[2])
        for request, records in (({"count": 2}, oldest_first[:0:-1]), ({"count": 9}, oldest_first[::-1]),
                                 ({"sinceEndTime": ends[0]}, oldest_first[:0:-1]),
                                 ({"sinceEndTime": ends[0], "count": 1}, oldest_first[2:]),
                                 ({"sinceEndTime": "0001-01-01T00:00:00Z"}, oldest_first[::-1]),
                                 ({"sinceEndTime": "1600-01-01T00:00:00Z"}, oldest_first[::-1])):
            self.assertEqual(histories(**request)["histories"][self.identity]["records"], records, request)
        nothing_new = histories(sinceEndTime=ends[2])
        self.assertEqual(nothing_new["histories"], {})
        self.assertGreater(nothing_new["end_time"], ends[2])  # now
        for far_away in ("2400-01-01T00:00:00Z", "9999-12-31T23:59:59Z"):
            self.assertEqual(histories(sinceEndTime=far_away)["histories"], {}, far_away)
        self.assertEqual(histories(count=0)["histories"], {})
        client("nexus", "destroy", self.identity)
        self.assertEqual(histories()["histories"], {})

    async def test_rebuild_that_is_verified(self) -> None:
        engines = self.engines(2, "--rebuild-tasks", "4", environment={"NEXUS_REBUILD_VERIFY": "fail"})
        uris = self.uris(engines)
        client = self.under_test.client
        self.create(uris[:1])
        path = self.publish().replace("nvmf+tcp", "nvmf")
        self.finished(self.load(path, "-t", "randwrite", "-b", "65536", "-n", "100"))
        damage = "inject://r1?op=read&method=data"
        engines[1].client("test", "inject", "--add", damage)
        client("nexus", "add", self.identity, uris[1])
        await settled("the rebuild fails", lambda: self.child_states()[1] == ["faulted", "rebuild failed"],
                      self.child_states)
        self.assertEqual(self.record(), {"clean": False, self.replicas[0]: True, self.replicas[1]: False})
        engines[1].client("test", "inject", "--remove", damage)
        client("nexus", "child", "online", self.identity, uris[1])
        await self.healthy(2)
        history = json.loads(client("-o", "json", "rebuild", "history", self.identity))["records"]
        self.assertEqual([each["state"] for each in history], [4, 5])
        client("nexus", "destroy", self.identity)
        self.expect_identical_children(engines)


class Refusals(NexusCase):
    def test_create(self) -> None:
        engines = self.engines(2)
        uris = self.uris(engines)
        client = self.under_test.client
        for name, options in (("small", "size_mb=4"), ("big", "size_mb=32&blk_size=4096"), ("free", "size_mb=32")):
            client("bdev", "create", f"malloc:///{name}?{options}&uuid={uuid.uuid4()}")
        devices = client("bdev", "list")
        malloc = {name: f"bdev:///{name}?uuid={self.under_test.bdev(name)['UUID']}" for name in ("small", "big", "free")}
        new = [self.identity, "16MiB"]
        for code, text, *command in [
                ("INVALID_ARGUMENT", "Invalid nexus uuid", "12345", "16MiB", *uris),
                ("INVALID_ARGUMENT", "controller ID range [0h, ffefh]", *new, *uris, "--min-cntlid", "0"),
                ("INVALID_ARGUMENT", "controller ID range [1h, fff0h]", *new, *uris, "--max-cntlid", "65520"),
                ("INVALID_ARGUMENT", "controller ID range [7h, 6h]", *new, *uris, "--min-cntlid", "7", "--max-cntlid", "6"),
                ("INVALID_ARGUMENT", "controller ID range [1h, 10001h]", *new, *uris, "--max-cntlid", "65537"),
                ("INVALID_ARGUMENT", "reservation parameters", *new, *uris, "--preempt-key", "1"),
                ("INVALID_ARGUMENT", "nothing", *new, "nothing"),
                ("INVALID_ARGUMENT", "gone", *new, f"bdev:///gone?uuid={uuid.uuid4()}"),
                ("INVALID_ARGUMENT", "uuid=", *new, "bdev:///r0"),
                ("INVALID_ARGUMENT", "mixed block sizes", *new, malloc["big"], uris[0]),
                ("INVALID_ARGUMENT", "too small", *new, malloc["small"]),
                ("INTERNAL", "too small", self.identity, "1GiB", *uris),
                ("INTERNAL", "r0", *new, uris[0], uris[0])]:
            self.refused(code, text, "nexus", "create", *command)
            self.assertEqual(client("bdev", "list"), devices, command)
        self.assertEqual(client("nexus", "list"), "No nexus found\n")

        self.create(uris)
        other = str(uuid.uuid4())
        self.refused("ALREADY_EXISTS", "nexus0", "nexus", "create", other, "16MiB", malloc["free"], "--name", "nexus0")
        self.refused("INTERNAL", "nexus0", "nexus", "create", self.identity, "16MiB", malloc["free"], "--name", "nexus1")
        self.refused("INTERNAL", "NEXUS_CAS_MODULE", "nexus", "create", other, "16MiB", uris[0], "--name", "nexus1")
        self.assertEqual(len(client("-q", "nexus", "list").splitlines()), 1)
        self.under_test.client("nexus", "destroy", self.identity)
        self.assertEqual(client("bdev", "list"), devices)

    def test_operations(self) -> None:
        engines = self.engines(2)
        uris = self.uris(engines)
        client = self.under_test.client
        client("bdev", "create", f"malloc:///big?size_mb=32&blk_size=4096&uuid={uuid.uuid4()}")
        self.create(uris, size="24MiB")
        here, gone = self.identity, str(uuid.uuid4())
        for code, text, *command in [
                *(("NOT_FOUND", gone, "nexus", verb, gone) for verb in ("destroy", "shutdown", "publish", "unpublish",
                                                                        "ana_state", "children")),
                *(("NOT_FOUND", gone, "nexus", verb, gone, uris[1]) for verb in ("add", "remove")),
                *(("NOT_FOUND", gone, "nexus", "child", verb, gone, uris[1]) for verb in ("fault", "offline", "online", "retire")),
                *(("NOT_FOUND", gone, "rebuild", verb, gone, uris[1]) for verb in ("start", "stop", "pause", "resume", "state",
                                                                                  "stats", "progress")),
                ("NOT_FOUND", gone, "rebuild", "history", gone),
                ("NOT_FOUND", gone, "nexus", "resize", gone, "20MiB"),
                ("NOT_FOUND", here.upper(), "nexus", "publish", here.upper()),
                ("NOT_FOUND", "Nexus not found", "stats", "nexus", "nexus1"),
                ("INVALID_ARGUMENT", "key", "nexus", "publish", here, "123456789012345"),
                ("INVALID_ARGUMENT", "share protocol 2", "nexus", "publish", here, "-p", "iscsi"),
                ("INVALID_ARGUMENT", "share protocol 0", "nexus", "publish", here, "-p", "none"),
                ("INVALID_ARGUMENT", "allowed host", "nexus", "publish", here, "--allowed-host", "x y"),
                ("INVALID_ARGUMENT", "not been shared over NVMf", "nexus", "ana_state", here),
                ("INVALID_ARGUMENT", "not been shared over NVMf", "nexus", "ana_state", here, "optimized"),
                ("FAILED_PRECONDITION", "only grow", "nexus", "resize", here, "8MiB"),
                ("INVALID_ARGUMENT", "too small", "nexus", "resize", here, "1GiB"),
                ("ALREADY_EXISTS", uris[1], "nexus", "add", here, uris[1]),
                ("INVALID_ARGUMENT", "nothing", "nexus", "add", here, "nothing"),
                ("INVALID_ARGUMENT", "block size", "nexus", "add", here,
                 f"bdev:///big?uuid={self.under_test.bdev('big')['UUID']}"),
                *(("NOT_FOUND", "bdev:///r7", "nexus", "child", verb, here, "bdev:///r7")
                  for verb in ("fault", "offline", "online", "retire")),
                ("NOT_FOUND", "bdev:///r7", "rebuild", "start", here, "bdev:///r7"),
                ("INTERNAL", "not degraded", "rebuild", "start", here, uris[1]),
                *(("NOT_FOUND", "Rebuild job not found", "rebuild", verb, here, uris[1])
                  for verb in ("pause", "resume", "state", "stats", "progress"))]:
            self.refused(code, text, *command)
        client("rebuild", "stop", here, uris[1])
        client("nexus", "remove", here, "bdev:///r7")
        client("nexus", "child", "online", here, uris[1])
        self.assertEqual(client("rebuild", "history", here), "No rebuilds found\n")
        self.assertEqual(self.child_states(), [["online", "-"]] * 2)
        self.assertEqual(self.publish("1234567890123456"), self.nexus()["device_uri"])


class Scrubs(NexusCase):
    def scrub(self, *options: str) -> dict:
        self.assertEqual(self.under_test.client("nexus", "scrub", "start", self.identity, *options), f"{self.identity}\n")
        return self.scrub_state()

    def scrub_state(self) -> dict:
        return json.loads(self.under_test.client("-o", "json", "nexus", "scrub", "state", self.identity))

    async def scrubbed(self, *options: str) -> dict:
        self.scrub(*options)
        await settled("the scrub has ended", lambda: "end_time" in self.scrub_state(), self.scrub_state)
        return self.scrub_state()

    async def test_scrub_finds_and_repairs_a_damaged_child(self) -> None:
        self.under_test = self.engine("-l", "0", "--spin-budget", "0", "--child-health-dir", str(self.records))
        files = [self.folder / f"child{index}.img" for index in range(3)]
        for file in files:
            with file.open("wb") as image:
                image.truncate(24 * MIB)
        uris = [f"aio://{file}?blk_size=512&uuid={self.replicas[index]}" for index, file in enumerate(files)]
        self.create(uris)
        self.publish()
        host = await self.host()
        await host.write(1000, b"s" * BLOCK)
        self.refused("NOT_FOUND", "no scrub", "nexus", "scrub", "state", self.identity)
        result = await self.scrubbed()
        self.assertEqual((result["state"], int(result["progress"]), int(result.get("blocks_different", 0))), ("completed", 100, 0))

        with files[1].open("r+b") as image:
            image.seek(DATA_START + 1000 * BLOCK)
            image.write(b"X")
            image.flush()
            os.fsync(image.fileno())
        result = await self.scrubbed()
        (difference,) = result["differences"]
        self.assertEqual((difference["deviating"], int(difference["lba"])), ([uris[1]], 1000 // 128 * 128))
        self.assertIn(uris[1], self.under_test.client("nexus", "scrub", "state", self.identity))
        result = await self.scrubbed("--repair", "majority")
        self.assertEqual(int(result["blocks_repaired"]), 128)
        self.assertEqual(int((await self.scrubbed()).get("blocks_different", 0)), 0)
        self.refused("NOT_FOUND", "aio:///none", "nexus", "scrub", "start", self.identity, "--repair", "source",
                     "--source", "aio:///none")

        self.scrub("--limit", "1MiB")
        self.assertIn("paused", self.under_test.client("nexus", "scrub", "pause", self.identity))
        self.assertIn("running", self.under_test.client("nexus", "scrub", "resume", self.identity))
        self.assertIn("stopped", self.under_test.client("nexus", "scrub", "stop", self.identity))
        for verb in ("pause", "resume"):
            self.refused("FAILED_PRECONDITION", "the scrub of nexus nexus0 is stopped", "nexus", "scrub", verb, self.identity)
        self.scrub("--limit", "1MiB")  # at once
        self.assertEqual(await host.read(1000, 1), b"s" * BLOCK)
        await host.close()
        self.under_test.stop()
        contents = [file.read_bytes()[DATA_START:] for file in files]
        self.assertTrue(contents[0] == contents[1] == contents[2])


if __name__ == "__main__":
    unittest.main()
