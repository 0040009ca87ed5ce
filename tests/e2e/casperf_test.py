"""casperf as people and scripts use it: results, exit codes, interruption, and that verification sees damage."""

import json
import os
import pathlib
import signal
import subprocess
import unittest

from engine_case import BIN, TIME_FACTOR, EngineCase

import child_process

TIMEOUT_S = 60 * TIME_FACTOR
FILE_SIZE = 4 << 20


class Casperf(EngineCase):
    def setUp(self) -> None:
        super().setUp()
        self.disk = self.folder / "disk.img"
        self.disk.write_bytes(bytes(FILE_SIZE))

    @staticmethod
    def command(*arguments: str) -> list[str | pathlib.Path]:
        # Only one core may be there; and never the whole of it for a tool that waits.
        return [BIN / "casperf", "-l", str(min(os.sched_getaffinity(0))), "--spin-budget", "0", *arguments]

    def run_casperf(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*arguments), text=True, capture_output=True, timeout=TIMEOUT_S)

    def start_casperf(self, *arguments: str) -> subprocess.Popen:
        """Returns when its first line says that it measures."""
        process = child_process.spawn(self.command("--interval", "20ms", *arguments), text=True, stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        for line in process.stdout:
            if " IO/s, " in line and not line.split(": ")[-1].startswith("0 IO/s"):
                return process
        self.fail(f"casperf ended before it measured: {process.stderr.read()}")

    def test_counts_and_tells_json(self) -> None:
        for scheme in ("aio", "uring"):
            result = self.run_casperf("-t", "randrw", "-M", "50", "-b", "4KiB", "-q", "8", "-n", "2000", "-j", "2",
                                      "--verify", "-o", "json", f"{scheme}://{self.disk}")
            self.assertEqual(result.returncode, 0, result.stderr)
            report = json.loads(result.stdout)
            self.assertEqual([job["ios"] for job in report["jobs"]], [2000, 2000])
            self.assertEqual(report["total"]["read"]["count"] + report["total"]["write"]["count"], 4000)
            self.assertGreater(report["total"]["write"]["count"], 1000)
            self.assertEqual((report["total"]["errors"], report["total"]["faults"]), (0, 0))
            # What was read in the load, and everything at its end.
            checked = sum(job["verification"]["blocks_checked"] for job in report["jobs"])
            self.assertEqual(checked, report["total"]["read"]["count"] * 8 + FILE_SIZE // 512)

    def test_verifies_what_comes_over_the_network(self) -> None:
        engine = self.engine("-l", "0")
        nqn = engine.create_and_share("malloc:///m?size_mb=8")
        for size, parameters in ((4096, ""), (4096, "?hdgst=true&ddgst=true"), (262144, "")):
            result = self.run_casperf("-t", "randrw", "-b", str(size), "-q", "16", "-n", "1000", "--verify", "-o", "json",
                                      f"nvmf://127.0.0.1:{engine.port}/{nqn}{parameters}")
            self.assertEqual(result.returncode, 0, result.stderr)
            total = json.loads(result.stdout)["total"]
            self.assertEqual((total["ios"], total["errors"], total["faults"]), (1000, 0, 0))

    def test_an_interrupt_prints_the_result_so_far(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            process = self.start_casperf("-b", "4096", "-q", "4", f"aio://{self.disk}")
            process.send_signal(number)
            output, errors = process.communicate(timeout=TIMEOUT_S)
            self.assertEqual(process.returncode, 0, errors)
            self.assertIn("randread, 4096 bytes, depth 4, interrupted", output)
            self.assertRegex(output, r"(?m)^read +[1-9][0-9]* ")

    def test_sees_damage(self) -> None:
        # Only reads after the first filling, so what is damaged stays so.
        process = self.start_casperf("--verify", "-b", "4096", "-q", "4", "-d", "1s", f"aio://{self.disk}")
        with self.disk.open("r+b") as file:
            file.seek(777 * 512 + 100)
            written = file.read(1)[0]
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([written ^ 0xff]))  # whatever this run has put there, something else
        output, errors = process.communicate(timeout=TIMEOUT_S)
        self.assertEqual(process.returncode, 3, output + errors)
        self.assertIn("block 777: corrupt: byte 64 on: ", output)

    def test_refusals(self) -> None:
        for code, message, *arguments in (
                (2, "URI is required",),
                (2, "--depth: '0' is not valid", "-q", "0", "null:///n?size_mb=1"),
                (1, "Unsupported URI scheme: 'tape'", "tape:///dev/st0"),
                (1, "No such file or directory", "aio:///nowhere/disk"),
                (1, "--io-size 1000 is not a multiple of its block size 512", "-b", "1000", "null:///n?size_mb=1"),
                (1, "hold 256 I/Os of 4096 bytes for each of 1 jobs, and 513 are needed", "-b", "4096", "-q", "512",
                 "--verify", "null:///n?size_mb=1")):
            result = self.run_casperf(*arguments)
            self.assertEqual(result.returncode, code, result)
            self.assertEqual(result.stdout, "")
            self.assertIn(message, result.stderr)


if __name__ == "__main__":
    unittest.main()
