"""The initiator test tool against an engine: what it writes it reads again, admin commands, and what it refuses."""

import json
import os
import subprocess
import unittest

from engine_case import BIN, TIME_FACTOR, EngineCase
from engine_process import NQN_PREFIX
from ipv6_test import has_ipv6
from nvme_tcp_host import Controller

TIMEOUT_S = 60 * TIME_FACTOR
BLOCK = 512


class Initiator(EngineCase):
    def setUp(self) -> None:
        super().setUp()
        engine = self.engine("-l", "0")
        nqn = engine.create_and_share("malloc:///m?size_mb=8")
        self.uri = f"nvmf://127.0.0.1:{engine.port}/{nqn}"
        self.file = self.folder / "data"

    def initiator(self, *arguments: str, uri: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run([BIN / "initiator", uri or self.uri, *map(str, arguments)], text=True, capture_output=True,
                              timeout=TIMEOUT_S)

    def expect(self, output: str, *arguments: str) -> None:
        result = self.initiator(*arguments)
        self.assertEqual((result.returncode, result.stdout), (0, output), result.stderr)

    def test_writes_and_reads(self) -> None:
        content = os.urandom(5 * (1 << 20) // 2 + 100)  # several transfers, the last one not a whole block
        self.file.write_bytes(content)
        whole = -(-len(content) // BLOCK) * BLOCK
        self.expect(f"{whole} bytes written\n", "-o", "1MiB", "write", self.file)
        self.expect(f"{whole} bytes read\n", "-o", "1MiB", "read", self.file, "-l", whole)
        self.assertEqual(self.file.read_bytes(), content.ljust(whole, b"\0"))
        self.expect("512 bytes read\n", "--offset", (1 << 20) + BLOCK, "read", self.file)
        self.assertEqual(self.file.read_bytes(), content[BLOCK:2 * BLOCK])

    def test_connects_and_sends_admin_commands(self) -> None:
        result = self.initiator("connect")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("16384 blocks of 512 bytes\n  path 127.0.0.1:", result.stdout)
        self.assertIn(": connected, controller ", result.stdout)
        self.expect("identify controller: 4096 bytes\n", "id-ctrlr", self.file)
        identity = self.file.read_bytes()
        self.assertEqual(identity[24:64].decode().strip(), "Mayastor NVMe controller")
        self.expect("admin command 18h: success, dword 0 0x0\n", "nvme-admin", "0x18")  # Keep Alive

    def test_refusals(self) -> None:
        self.file.write_bytes(b"x")
        for code, message, *arguments in (
                (1, "admin command ffh: Invalid Command Opcode", "nvme-admin", "255"),
                (1, "512 bytes at 100 are no whole blocks of 512 bytes", "-o", "100", "read", self.file),
                (1, "512 bytes at 8388608 do not lie within the device's 8388608 bytes", "-o", "8MiB", "write", self.file),
                (1, "No such file or directory", "write", self.folder / "nothing"),
                (2, "'0x100' is no opcode", "nvme-admin", "0x100"),
                (2, "--offset: Bad size 'far'", "-o", "far", "connect"),
                (2, "A subcommand is required")):
            result = self.initiator(*arguments)
            self.assertEqual((result.returncode, result.stdout), (code, ""), result)
            self.assertIn(message, result.stderr)
        local = self.initiator("id-ctrlr", self.file, uri="malloc:///m?size_mb=1")
        self.assertEqual(local.returncode, 1)
        self.assertIn("'m' is no NVMe-oF device: it takes no admin commands", local.stderr)
        gone = self.initiator("connect", uri="nvmf://127.0.0.1:1/nqn.2019-05.io.openebs:m")
        self.assertEqual(gone.returncode, 1)
        self.assertIn("127.0.0.1:1", gone.stderr)

    def test_addresses_of_other_kinds(self) -> None:
        nqn = self.uri.rsplit("/", 1)[1]
        self.file.write_bytes(os.urandom(BLOCK))
        self.expect("512 bytes written\n", "write", self.file)
        content, port = self.file.read_bytes(), self.uri.split(":")[2].split("/")[0]
        result = self.initiator("read", self.file, uri=f"nvmf+tcp://localhost:{port}/{nqn}")
        self.assertEqual((result.returncode, self.file.read_bytes()), (0, content), result.stderr)
        unknown = self.initiator("connect", uri=f"nvmf://no-such-host.invalid:{port}/{nqn}")
        self.assertEqual(unknown.returncode, 1)
        self.assertIn("no-such-host.invalid", unknown.stderr)

    @unittest.skipUnless(has_ipv6(), "this machine has no IPv6 loopback address")
    def test_ipv6(self) -> None:
        engine = self.engine("-l", "0", "-T", "ip:::1")
        nqn = engine.create_and_share("malloc:///six?size_mb=8")
        uri = f"nvmf://[::1]:{engine.port}/{nqn}"
        content = os.urandom(3 * BLOCK)
        self.file.write_bytes(content)
        for arguments in (("write", self.file), ("read", self.file, "-l", len(content))):
            result = self.initiator("-o", BLOCK, *arguments, uri=uri)
            self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(self.file.read_bytes(), content)

    async def test_an_engine_lists_its_controllers(self) -> None:
        host = self.engine("-l", "0")
        self.assertIn("No NVMe controllers found", host.client("controller", "list"))
        name = host.client("bdev", "create", self.uri).strip()
        listed = json.loads(host.client("-o", "json", "controller", "list"))["controllers"]
        # State 2: running.
        self.assertEqual([(each["name"], each["state"], int(each["size"]), each["blk_size"]) for each in listed],
                         [(name, 2, 8 << 20, BLOCK)])
        stats = json.loads(host.client("-o", "json", "controller", "stats", name))["stats"]
        self.assertEqual((int(stats["num_read_ops"]), int(stats["bytes_written"])), (0, 0))
        host.client("bdev", "share", name)
        through = await Controller.connect("127.0.0.1", host.port, NQN_PREFIX + name)
        await through.write(0, bytes(4 * BLOCK))
        await through.close()
        stats = json.loads(host.client("-o", "json", "controller", "stats", name))["stats"]
        self.assertEqual((int(stats["num_read_ops"]), int(stats["bytes_written"])), (0, 4 * BLOCK))
        refused = host.client_result("controller", "stats", "malloc0")
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("NVMe controller 'malloc0' not found", refused.stderr)


if __name__ == "__main__":
    unittest.main()
