#!/usr/bin/env python3
"""The product in two minutes: a volume of three copies, used by a Linux kernel, outlives the engines that serve it.

Prints every command as a user would type it, and what it answered; ends with a table of what was shown.
"""

import argparse
import contextlib
import json
import pathlib
import re
import sys
import tempfile
import time
import uuid
from typing import Callable

from engine import BINARIES, NQN_PREFIX, Engine, EngineError
from guest import HOST_ADDRESS, Guest, GuestError
from nvme_host import Controller, NvmeHost
from scenario import CHECKSUMS, FIO_DEFAULTS, Failure, expect, expect_equal

KERNEL = "6.12"
MIB = 1 << 20
VOLUME_MIB = 320  # mkfs.xfs refuses less than 300
REPLICA_MIB = VOLUME_MIB + 8  # a nexus keeps a few MiB of its children for itself
POOL_MIB = 512
VOLUME = "volume"
VICTIM = 2  # the engine that is killed
FLUSH_EVERY = 4
WRITER_BLOCKS = 1024
MISSED_MIB = 48  # what is written while an engine is away
DEADLINE_S = 60
BAR = 40


class Demo:
    def __init__(self, engines: list[Engine], folder: pathlib.Path):
        self._engines = engines
        self._folder = folder
        self._volume = str(uuid.uuid4())
        self._replicas = [str(uuid.uuid4()) for _ in engines]
        self._controller: Controller | None = None
        self._guest: Guest | None = None
        self.shown: list[tuple[str, float]] = []  # step, seconds
        self.results: list[tuple[str, str]] = []  # what the end's table says

    def run(self) -> None:
        guest = self._guest = Guest(KERNEL, cpus=2)
        with contextlib.ExitStack() as running:
            self._step("three engines start, each with a pool on a file", lambda: self._start_engines(running))
            self._step("a volume of three replicas is made and published", self._make_volume)
            self._step("a Linux kernel boots and connects to it", lambda: self._connect(running, guest))
            self._step("xfs: format, mount, verify with fio, check", self._use_xfs)
            self._step("ext4: format, mount, two applications start", self._start_applications)
            self._step("an engine is killed; the applications go on", self._kill_engine)
            self._step("it comes back and gets what it missed", self._bring_back)
            self._step("the applications end; all they wrote is there", self._stop_applications)
            self._step("the replicas are compared", self._scrub)
            self._step("all engines are stopped and started again", self._restart)
            self._step("the data is still there", self._compare)
            for engine in self._engines:
                engine.stop()

    def _step(self, title: str, action: Callable[[], object]) -> None:
        print(f"\n== {title}", flush=True)
        started = time.monotonic()
        action()
        self.shown.append((title, time.monotonic() - started))

    # --- the storage

    def _start_engines(self, running: contextlib.ExitStack) -> None:
        for number, engine in enumerate(self._engines):
            with (engine.folder / "disk").open("wb") as file:
                file.truncate(POOL_MIB * MIB)
            running.enter_context(engine)
            self._client(number, "pool", "create", f"pool{number}", str(engine.folder / "disk"), "--cluster-size", "1MiB")

    def _make_volume(self) -> None:
        for number, replica in enumerate(self._replicas):
            share = ["-p", "nvmf"] if number else []
            self._client(number, "replica", "create", f"copy{number}", replica, f"pool{number}", "--size", f"{REPLICA_MIB}MiB", "--thin", *share)
        self._publish()

    def _publish(self) -> None:
        self._client(0, "nexus", "create", self._volume, f"{VOLUME_MIB}MiB", *[self._child(number) for number in range(3)], "--name", VOLUME)
        self._client(0, "nexus", "publish", self._volume)
        self._client(0, "nexus", "list")

    def _child(self, number: int) -> str:
        """The first replica is used directly, the others over the network."""
        device = f"nvmf://127.0.0.1:{self._engines[number].port}/{NQN_PREFIX}" if number else "bdev:///"
        return f"{device}copy{number}?uuid={self._replicas[number]}"

    def _kill_engine(self) -> None:
        before = self._acknowledged()
        self._engines[VICTIM].kill()
        print(f"   engine {VICTIM}: kill -9")
        self._wait("the child is found to be gone", lambda: self._child_row()["state"] != 1, "nexus children")
        self._client(0, "nexus", "children", self._volume)
        _run(self._guest, f"head -c {MISSED_MIB * MIB} /dev/urandom >/mnt/missed && sync")
        goal = self._acknowledged() + 100 * FLUSH_EVERY
        self._writer.wait_for_output(rf"acked {goal // FLUSH_EVERY * FLUSH_EVERY}\n")
        print(f"   {self._acknowledged() - before} writes acknowledged meanwhile")

    def _bring_back(self) -> None:
        self._engines[VICTIM].start()
        print(f"   engine {VICTIM}: started")
        self._client(VICTIM, "pool", "create", f"pool{VICTIM}", str(self._engines[VICTIM].folder / "disk"))
        self._client(0, "nexus", "child", "online", self._volume, self._child(VICTIM))
        deadline = time.monotonic() + DEADLINE_S
        progress = Progress("rebuild")
        while (child := self._child_row())["state"] != 1:
            expect(time.monotonic() < deadline, f"the rebuild ends: {child}")
            progress.show(max(0, child["rebuild_progress"]))
            time.sleep(0.05)
        progress.end()
        self._client(0, "rebuild", "history", self._volume)
        (record,) = self._query("rebuild", "history", self._volume)["records"]
        copied = int(record["blocks_transferred"]) * int(record["block_size"])
        total = int(record["blocks_total"]) * int(record["block_size"])
        expect(record["is_partial"], "the rebuild copies only what was missed")
        self.results.append(("bytes copied by the rebuild", f"{copied / MIB:.1f} MiB of a volume of {total / MIB:.0f} MiB"))

    def _scrub(self) -> None:
        if "scrub" not in self._engines[0].client("nexus", "--help"):
            print("   this client has no command `nexus scrub`")
            return
        self._client(0, "nexus", "scrub", "start", self._volume)
        progress = Progress("compare")
        deadline = time.monotonic() + DEADLINE_S
        while (scrub := self._query("nexus", "scrub", "state", self._volume))["state"] == "running":
            expect(time.monotonic() < deadline, f"the replicas are compared: {scrub}")
            progress.show(int(scrub["progress"]))
            time.sleep(0.05)
        expect_equal(scrub["state"], "completed", f"the comparison's end: {scrub['failure']}")
        progress.end()
        self._client(0, "nexus", "scrub", "state", self._volume)
        expect_equal(int(scrub["blocks_different"]), 0, "blocks that differ")
        compared = int(scrub["blocks_compared"]) * int(scrub["block_size"])
        self.results.append(("replicas compared", f"3, {compared / MIB:.0f} MiB each, no difference"))

    def _restart(self) -> None:
        self._client(0, "nexus", "destroy", self._volume)
        for number, engine in enumerate(self._engines):
            engine.stop()
            print(f"   engine {number}: stopped by SIGTERM")
        for number, engine in enumerate(self._engines):
            engine.start()
            self._client(number, "pool", "create", f"pool{number}", str(engine.folder / "disk"))
        self._publish()
        self._controller.wait_for_state("live")
        print("   Linux: reconnected", flush=True)

    # --- the Linux kernel

    def _connect(self, running: contextlib.ExitStack, guest: Guest) -> None:
        running.enter_context(guest)
        print(f"   Linux {guest.version}, up in {guest.boot_seconds:.1f} s")
        host = NvmeHost(guest)
        engine = self._engines[0]
        nqn = NQN_PREFIX + VOLUME
        _run(guest, f"nvme discover -t tcp -a {HOST_ADDRESS} -s {engine.port} | grep {VOLUME}")
        print(f"   guest$ nvme connect -t tcp -a {HOST_ADDRESS} -s {engine.port} -n {nqn}", flush=True)
        self._controller = host.connect(nqn, engine.port, queues=2)
        _run(guest, "nvme list")

    def _use_xfs(self) -> None:
        device = self._controller.device
        _run(self._guest, f"mkfs.xfs -q {device} && mount -t xfs {device} /mnt")
        _run(self._guest, f"cd /mnt && fio {FIO_DEFAULTS} --size=4M --end_fsync=1 --output=/tmp/fio.log && grep -E 'READ|WRITE|err=' /tmp/fio.log")
        _run(self._guest, "umount /mnt")
        _check_filesystem(self._guest, f"xfs_repair -n {device}")

    def _start_applications(self) -> None:
        device = self._controller.device
        _run(self._guest, f"mkfs.ext4 -q -F {device} && mount -t ext4 {device} /mnt")
        _run(self._guest, f"head -c {WRITER_BLOCKS * 4096} /dev/zero >/mnt/sequence && sync")
        print("   guest$ a writer that counts what was flushed, and fio, which reads back what it writes", flush=True)
        self._writer = self._guest.start(f"exec sequence-writer write /mnt/sequence {WRITER_BLOCKS} {FLUSH_EVERY}")
        self._fio = self._guest.start(f"cd /tmp && while [ ! -e stop ]; do fio {FIO_DEFAULTS} --directory=/mnt --size=2M --rate_iops=400 "
                                      "--randrepeat=0 --output-format=json >fio.json 2>&1 || { cat fio.json; exit 1; }; "
                                      "grep -E '\"total_ios\"' fio.json | head -n 2; done")
        self._writer.wait_for_output(rf"acked {100 * FLUSH_EVERY}\n")

    def _stop_applications(self) -> None:
        self._guest.check("touch /tmp/stop")
        self._writer.kill(15)
        errors = 0
        for name, job in (("the writer", self._writer), ("fio", self._fio)):
            status, output = job.wait(DEADLINE_S)
            errors += status != 0
            expect_equal(status, 0, f"the end of {name}: {output[-1000:]}")
        _run(self._guest, f"sequence-writer check /mnt/sequence {WRITER_BLOCKS} {self._acknowledged()}")
        counts = [int(number) for number in re.findall(r'"total_ios" : (\d+)', self._fio.output)]  # reads, writes, reads, ...
        gap_ms = int(re.search(r"longest gap (\d+) ms", self._writer.output)[1])
        self._checksums = self._guest.check(f"sync && {CHECKSUMS}")
        _run(self._guest, "umount /mnt")
        _check_filesystem(self._guest, f"e2fsck -fn {self._controller.device}")
        self.results += [("writes acknowledged", f"{self._acknowledged() + sum(counts[1::2])}, each flushed or read back"),
                         ("errors seen", str(errors)),
                         ("longest time without I/O", f"{gap_ms / 1000:.2f} s")]

    def _compare(self) -> None:
        device = self._controller.device
        _run(self._guest, f"mount -t ext4 {device} /mnt")
        expect_equal(self._guest.check(CHECKSUMS), self._checksums, "checksums")
        print("   all checksums are equal")
        _run(self._guest, "umount /mnt")
        _check_filesystem(self._guest, f"e2fsck -fn {device}")

    # --- asking

    def _acknowledged(self) -> int:
        return int((re.findall(r"acked (\d+)\n", self._writer.output) or ["0"])[-1])

    def _child_row(self) -> dict:
        (nexus,) = self._query("nexus", "list")["nexus_list"]
        (child,) = [each for each in nexus["children"] if self._replicas[VICTIM] in each["uri"]]
        return child

    def _wait(self, what: str, condition: Callable[[], object], state: str) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            expect(time.monotonic() < deadline, f"{what}: {state}")
            time.sleep(0.05)

    def _query(self, *arguments: str) -> dict:
        return json.loads(self._engines[0].client("-o", "json", *arguments))

    def _client(self, number: int, *arguments: str) -> str:
        print(f"   $ io-engine-client -b engine{number} {' '.join(arguments)}", flush=True)
        return _shown(self._engines[number].client(*arguments))


class Progress:
    """A line that grows on a terminal; elsewhere only its last state."""

    def __init__(self, what: str):
        self._what = what

    def show(self, percent: int, end: str = "") -> None:
        if end or sys.stdout.isatty():
            print(f"\r   {self._what} [{'#' * (percent * BAR // 100):{BAR}}] {percent:3} %", end=end, flush=True)

    def end(self) -> None:
        self.show(100, "\n")


def _check_filesystem(guest: Guest, command: str) -> None:
    _run(guest, f"{command} >/tmp/check 2>&1; status=$?; tail -n 1 /tmp/check; exit $status")


def _run(guest: Guest, command: str) -> str:
    print(f"   guest$ {command}", flush=True)
    return _shown(guest.check(command, timeout_s=120))


def _shown(output: str) -> str:
    for line in output.splitlines():
        print(f"     {line}")
    sys.stdout.flush()
    return output


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", type=pathlib.Path, default=BINARIES / "io-engine")
    parser.add_argument("--client", type=pathlib.Path, default=BINARIES / "io-engine-client")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cairn-demo-") as name:
        folder = pathlib.Path(name)
        engines = []
        for number in range(3):
            (folder / f"engine{number}").mkdir()
            engines.append(Engine(options.engine, options.client, folder / f"engine{number}",
                                  ("-N", f"engine{number}", "--child-health-dir", str(folder))))
        demo = Demo(engines, folder)
        error = None
        try:
            demo.run()
        except (EngineError, GuestError, Failure) as failure:
            error = failure
    print("\n" + "-" * 76)
    for title, seconds in demo.shown:
        print(f"ok    {title:56} {seconds:6.1f} s")
    print("-" * 76)
    for what, value in demo.results:
        print(f"{what:32}  {value}")
    if error:
        print(f"FAIL  {error}")
    return 1 if error else 0


if __name__ == "__main__":
    sys.exit(main())
