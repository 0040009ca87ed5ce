"""What users of the engine's programs rely on: commands, answers, error codes and texts, exit codes, orderly ends."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import unittest
import uuid

from engine_case import BIN, TIME_FACTOR, EngineCase, settled
from nvme_tcp_host import DISCOVERY_NQN, CommandFailed, Controller, HostError, host_nqn_of

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


class DevicesByTheClient(EngineCase):
    def setUp(self) -> None:
        super().setUp()
        self.under_test = self.engine()
        self.file = self.folder / "disk.img"
        with self.file.open("wb") as file:
            file.truncate(16 << 20)

    def test_devices_of_every_scheme(self) -> None:
        engine, identity = self.under_test, str(uuid.uuid4())
        devices = [  # URI, name, block size, blocks
            (f"malloc:///m0?size_mb=8&uuid={identity}", "m0", 512, 16384),
            ("malloc:///m1?num_blocks=100&blk_size=4096", "m1", 4096, 100),
            ("null:///n0?size_mb=4&blk_size=4096", "n0", 4096, 1024),
            (f"aio://{self.file}", str(self.file), 512, 32768)]
        for uri, name, block_size, blocks in devices:
            with self.subTest(uri):
                self.assertEqual(engine.client("bdev", "create", uri), name + "\n")
                row = engine.bdev(name)
                self.assertRegex(row["UUID"], f"^{UUID}$")
                self.assertEqual((row["NUM_BLOCKS"], row["BLK_SIZE"], row["CAPACITY"]),
                                 (str(blocks), str(block_size), str(blocks * block_size)))
                self.assertEqual(row["SHARE_URI"], f"bdev:///{name}")
        self.assertEqual(engine.bdev("m0")["UUID"], identity)
        # Files made by aio may be taken by uring, one after the other.
        self.assertEqual(engine.client("bdev", "destroy", str(self.file)), f"{self.file}\n")
        self.assertEqual(engine.client("bdev", "create", f"uring://{self.file}?blk_size=4096"), f"{self.file}\n")
        listed = json.loads(engine.client("-o", "json", "bdev", "list"))["bdevs"]
        self.assertEqual({each["name"]: each["product_name"] for each in listed}.keys(),
                         {"m0", "m1", "n0", str(self.file)})
        for name in ("m0", "m1", "n0", str(self.file)):
            engine.client("bdev", "destroy", name)
        self.assertEqual(engine.client("bdev", "list"), "No bdevs found\n")

    def test_refusals(self) -> None:
        engine = self.under_test
        engine.client("bdev", "create", "malloc:///m0?size_mb=8")
        missing = self.folder / "missing"
        for arguments, code, text in [
                (["create", "malloc:///m0?size_mb=8"], "INTERNAL", "name 'm0' already exists"),
                (["create", "malloc:///x"], "INVALID_ARGUMENT", "either 'num_blocks' or 'size_mb' must be specified"),
                (["create", "malloc:///x?size_mb=1&num_blocks=1"], "INVALID_ARGUMENT", "mutually exclusive"),
                (["create", "malloc:///x?size_mb=1&blk_size=513"], "INVALID_ARGUMENT", "must be one of"),
                (["create", "malloc:///x?size_mb=one"], "INVALID_ARGUMENT", "an integer expected"),
                (["create", "malloc:///x?size_mb=1&colour=red"], "INVALID_ARGUMENT", "unrecognized parameter(s): colour=red"),
                (["create", "malloc:///x?size_mb=1&uuid=1234"], "INVALID_ARGUMENT", "UUID"),
                (["create", "ftl:///x"], "INVALID_ARGUMENT", "Unsupported URI scheme: 'ftl'"),
                (["create", "not a uri"], "INVALID_ARGUMENT", "Error parsing URI"),
                (["create", f"aio://{missing}"], "NOT_FOUND", str(missing)),
                (["share", "absent"], "NOT_FOUND", "absent"),
                (["destroy", "absent"], "NOT_FOUND", "absent")]:
            with self.subTest(arguments):
                result = engine.client_result("bdev", *arguments)
                self.assertEqual((result.returncode, result.stdout), (1, ""))
                self.assertTrue(result.stderr.startswith(f"error: {code}: "), result.stderr)
                self.assertIn(text, result.stderr)
        self.assertEqual(engine.client_result("bdev", "create").returncode, 2)
        self.assertEqual(len(engine.client("-q", "bdev", "list").splitlines()), 1)

    async def test_a_share_is_reached_and_its_end_disconnects(self) -> None:
        engine = self.under_test
        nqn = engine.create_and_share("malloc:///m0?size_mb=8")
        row = engine.bdev("m0")
        self.assertEqual(row["SHARE_URI"], f"nvmf+tcp://127.0.0.1:{engine.port}/{nqn}")
        self.assertIn("NVMe-oF Target", engine.client("bdev", "list"))
        again = engine.client_result("bdev", "share", "m0")
        self.assertEqual(again.returncode, 1)
        self.assertIn("already shared", again.stderr)

        discovery = await Controller.connect("127.0.0.1", engine.port, DISCOVERY_NQN)
        log = await discovery.get_log_page(0x70, 2048)
        self.assertEqual(int.from_bytes(log[8:16], "little"), 1)
        self.assertEqual(log[1024 + 256:1024 + 512].rstrip(b"\0").decode(), nqn)
        self.assertEqual(log[1024 + 32:1024 + 64].strip(b"\0 ").decode(), str(engine.port))
        await discovery.close()

        host = await Controller.connect("127.0.0.1", engine.port, nqn)
        other = await Controller.connect("127.0.0.1", engine.nexus_port, nqn, number=2)
        await host.write(0, b"both ports".ljust(512, b"\0"))
        self.assertTrue((await other.read(0, 1)).startswith(b"both ports"))
        self.assertEqual(engine.client("bdev", "unshare", "m0"), "m0\n")
        for pair in (*host.queue_pairs, *other.queue_pairs):
            await pair.wait_end()
        with self.assertRaises(CommandFailed) as refused:
            await Controller.connect("127.0.0.1", engine.port, nqn)
        self.assertEqual(refused.exception.status, 0x182)
        # What was written is kept over unsharing and sharing.
        engine.client("bdev", "unshare", "m0")
        engine.client("bdev", "share", "m0")
        host = await Controller.connect("127.0.0.1", engine.port, nqn)
        self.assertTrue((await host.read(0, 1)).startswith(b"both ports"))
        engine.client("bdev", "destroy", "m0")  # a device takes its share along
        for pair in host.queue_pairs:
            await pair.wait_end()
        self.assertEqual(engine.client("bdev", "list"), "No bdevs found\n")

    async def test_allowed_hosts(self) -> None:
        engine = self.under_test
        engine.client("bdev", "create", "malloc:///m0?size_mb=8")
        engine.client("bdev", "share", "m0", "--allowed-host", host_nqn_of(1))
        nqn = "nqn.2019-05.io.openebs:m0"
        host = await Controller.connect("127.0.0.1", engine.port, nqn, number=1)
        await host.read(0, 1)
        with self.assertRaises(CommandFailed) as refused:
            await Controller.connect("127.0.0.1", engine.port, nqn, number=2)
        self.assertEqual(refused.exception.status, 0x184)
        stranger = await Controller.connect("127.0.0.1", engine.port, DISCOVERY_NQN, number=2)
        self.assertEqual(int.from_bytes((await stranger.get_log_page(0x70, 1024))[8:16], "little"), 0)
        await stranger.close()
        await host.close()

    async def test_statistics(self) -> None:
        engine = self.under_test
        nqn = engine.create_and_share("malloc:///m0?size_mb=8")
        host = await Controller.connect("127.0.0.1", engine.port, nqn)
        await host.write(0, bytes(8192))
        await host.read(0, 8)
        await host.read(8, 8)
        counters = engine.json_rpc("bdev_get_iostat", {"name": "m0"})["bdevs"][0]
        self.assertEqual((counters["num_read_ops"], counters["bytes_read"]), (2, 8192))
        self.assertEqual((counters["num_write_ops"], counters["bytes_write"]), (1, 8192))
        await host.close()

    def test_information(self) -> None:
        engine = self.under_test
        methods = engine.json_rpc("rpc_get_methods")
        for method in ("bdev_get_bdevs", "nvmf_get_subsystems", "framework_get_reactors"):
            self.assertIn(method, methods)
        for arguments in (["perf", "resource"], ["test", "features"], ["controller", "list"], ["stats", "nexus"],
                          ["device", "list", "--all"]):
            with self.subTest(arguments):
                self.assertTrue(engine.client(*arguments).strip())
        unknown = engine.client_result("jsonrpc", "no_such_method")
        self.assertEqual(unknown.returncode, 1)
        for shown in (f"127.0.0.1:{engine.port}", f"127.0.0.1:{engine.nexus_port}", str(engine.grpc_port),
                      str(engine.json_rpc_socket)):
            self.assertIn(shown, engine.banner)

    def test_the_json_rpc_binary(self) -> None:
        engine = self.under_test
        engine.client("bdev", "create", "malloc:///m0?size_mb=8")

        def call(*arguments: str, socket=engine.json_rpc_socket) -> subprocess.CompletedProcess[str]:
            return subprocess.run([BIN / "jsonrpc", "-s", socket, "raw", *arguments], text=True, capture_output=True,
                                  timeout=20 * TIME_FACTOR)
        found = call("bdev_get_bdevs", '{"name": "m0"}')
        self.assertEqual((found.returncode, json.loads(found.stdout)[0]["num_blocks"]), (0, 16384))
        self.assertEqual(call("bdev_get_bdevs", '{"name": "absent"}').returncode, 1)
        self.assertIn("-32601", call("no_such_method").stderr)
        self.assertEqual(call("bdev_get_bdevs", "{").returncode, 2)
        self.assertEqual(call("bdev_get_bdevs", socket=self.folder / "nobody").returncode, 1)

    def test_a_client_without_an_engine(self) -> None:
        engine = self.new_engine()
        self.assertEqual(engine.client_result("bdev", "list").returncode, 101)


class StartAndEnd(EngineCase):
    def run_engine(self, *options: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run([BIN / "io-engine", *options], text=True, capture_output=True, timeout=30 * TIME_FACTOR,
                              env={**os.environ, **(environment or {})})

    def test_refused_options(self) -> None:
        config = self.folder / "bad.yaml"
        config.write_text("nexus_opts:\n  no_such_key: 1\n")
        for options, text in [
                (["--no-such-option"], "--no-such-option"),
                (["-m", "0x0"], "0x0"),
                (["-l", "5-2"], "5-2"),
                (["--grpc-port", "70000"], "70000"),
                (["--grpc-ip", "nowhere"], "nowhere"),
                (["--spin-budget", "fast"], "fast"),
                (["--io-backend", "kqueue"], "kqueue"),
                (["--io-uring-disable", "everything"], "everything"),
                (["-F", "purple"], "Bad log format option: purple"),
                (["--tgt-crdt", "101"], "Command Retry Delay value is too big"),
                (["--api-versions", "v2"], "v2"),
                (["-R", "https://core:50051"], "registration"),
                (["-P", "pools.yaml"], "pools"),
                (["-p", "https://etcd"], "TLS"),
                (["--enable-rdma"], "RDMA"),
                (["-y", str(config)], "no_such_key")]:
            with self.subTest(options):
                result = self.run_engine(*options)
                self.assertEqual((result.returncode, result.stdout), (2, ""), result.stderr)
                self.assertIn(text, result.stderr)
        result = self.run_engine(environment={"MY_POD_IP": "somewhere"})
        self.assertEqual(result.returncode, 2)
        self.assertIn("MY_POD_IP environment variable is set to an invalid", result.stderr)

    def test_help_and_version(self) -> None:
        self.assertIn("--grpc-port", self.run_engine("--help").stdout)
        version = self.run_engine("--version")
        self.assertEqual(version.returncode, 0)
        self.assertRegex(version.stdout, r"\d+\.\d+\.\d+")

    def test_a_second_engine_on_the_same_ports(self) -> None:
        first = self.engine()
        second = subprocess.run(first.command(), text=True, capture_output=True, timeout=30 * TIME_FACTOR)
        self.assertEqual(second.returncode, 1)
        self.assertEqual(second.stdout, "")
        self.assertRegex(second.stderr, f"{first.port}.*(in use|exists)")
        self.assertNotIn("check failed", second.stderr)
        first.client("bdev", "list")  # undisturbed
        # Only the gRPC port is taken.
        third = self.new_engine()
        command = [str(first.grpc_port) if each == str(third.grpc_port) else each for each in third.command()]
        result = subprocess.run(command, text=True, capture_output=True, timeout=30 * TIME_FACTOR)
        self.assertEqual(result.returncode, 1)
        self.assertIn(str(first.grpc_port), result.stderr)

    def test_a_socket_file_left_by_a_killed_engine(self) -> None:
        engine = self.engine()
        engine.kill()
        self.assertTrue(engine.json_rpc_socket.exists())
        engine.start()
        self.assertTrue(engine.json_rpc("rpc_get_methods"))

    async def test_the_end_under_load(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(number):
                engine = self.engine("-l", "0,1")
                disk = self.folder / f"{number}.img"
                with open(disk, "wb") as file:
                    file.truncate(16 << 20)
                names = [engine.create_and_share("malloc:///m0?size_mb=8"), engine.create_and_share(f"aio://{disk}")]
                hosts = [await Controller.connect("127.0.0.1", engine.port, nqn, number=each, io_queues=2, kato_ms=5000)
                         for each, nqn in enumerate(names * 2)]
                writes = 0

                async def load(host: Controller, queue: int) -> None:
                    nonlocal writes
                    with contextlib.suppress(HostError):
                        while True:
                            await host.write(64 * queue, os.urandom(4096), queue=queue, by_r2t=bool(queue))
                            writes += 1
                tasks = [asyncio.create_task(load(host, queue)) for host in hosts for queue in (0, 1) for _ in range(4)]
                await settled("the load runs", lambda: writes > 200, lambda: f"{writes} writes")
                os.kill(engine.pid, number)
                await asyncio.wait_for(asyncio.gather(*tasks), 30 * TIME_FACTOR)
                await asyncio.to_thread(engine.stop)
                for host in hosts:
                    host.reset()


if __name__ == "__main__":
    unittest.main()
