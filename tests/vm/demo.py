#!/usr/bin/env python3
"""The product in a minute or two: a device made by the client, served by the engine, used by a Linux kernel.

Prints every command as a user would type it, and what it answered; ends with a table of what was shown.
"""

import argparse
import contextlib
import pathlib
import sys
import tempfile
import time
import uuid
from typing import Callable

from engine import BINARIES, NQN_PREFIX, Engine, EngineError
from guest import HOST_ADDRESS, Guest, GuestError
from nvme_host import Controller, NvmeHost
from scenario import CHECKSUMS, FIO_DEFAULTS, Failure, expect_equal

KERNEL = "6.12"
SIZE_MIB = 320  # mkfs.xfs refuses less than 300
CHECKS = {"ext4": "e2fsck -fn", "xfs": "xfs_repair -n"}


class Demo:
    def __init__(self, engine: Engine, folder: pathlib.Path):
        self._engine = engine
        self._folder = folder
        # The uuid makes a device the same namespace when the engine is started again.
        self._uris = {filesystem: f"aio://{self._disk(filesystem)}?uuid={uuid.uuid4()}" for filesystem in CHECKS}
        self._nqns: dict[str, str] = {}
        self._checksums: dict[str, str] = {}
        self._controllers: dict[str, Controller] = {}
        self.shown: list[tuple[str, float]] = []  # step, seconds

    def run(self) -> None:
        guest = Guest(KERNEL, cpus=2)
        with contextlib.ExitStack() as running:
            self._step("io-engine starts", lambda: running.enter_context(self._engine))
            self._step("io-engine-client creates and shares two devices", self._share)
            self._step("a Linux kernel boots in a virtual machine", lambda: running.enter_context(guest))
            self._step("its NVMe/TCP host discovers and connects both", lambda: self._connect(guest))
            for filesystem in CHECKS:
                self._step(f"{filesystem}: format, mount, verify with fio, check", lambda: self._use(guest, filesystem))
            self._step("io-engine is stopped and started again", self._restart)
            for filesystem in CHECKS:
                self._step(f"{filesystem}: the data is still there", lambda: self._compare(guest, filesystem))
            self._step("io-engine stops", self._engine.stop)

    def _step(self, title: str, action: Callable[[], object]) -> None:
        print(f"\n== {title}", flush=True)
        started = time.monotonic()
        action()
        self.shown.append((title, time.monotonic() - started))

    def _disk(self, filesystem: str) -> pathlib.Path:
        path = self._folder / f"{filesystem}-disk"
        with path.open("wb") as file:
            file.truncate(SIZE_MIB << 20)
        return path

    def _share(self) -> None:
        for filesystem, uri in self._uris.items():
            name = self._client("bdev", "create", uri).strip()
            self._client("bdev", "share", name)
            self._nqns[filesystem] = NQN_PREFIX + name
        self._client("bdev", "list")

    def _connect(self, guest: Guest) -> None:
        print(f"   Linux {guest.version}, up in {guest.boot_seconds:.1f} s")
        host = NvmeHost(guest)
        _guest(guest, f"nvme discover -t tcp -a {HOST_ADDRESS} -s {self._engine.port} | grep subnqn")
        for filesystem, nqn in self._nqns.items():
            print(f"   guest$ nvme connect -t tcp -a {HOST_ADDRESS} -s {self._engine.port} -n {nqn}", flush=True)
            self._controllers[filesystem] = host.connect(nqn, self._engine.port, queues=2)
        _guest(guest, "nvme list")

    def _use(self, guest: Guest, filesystem: str) -> None:
        device = self._controllers[filesystem].device
        _guest(guest, f"mkfs.{filesystem} -q {device}")
        _guest(guest, f"mount -t {filesystem} {device} /mnt")
        _guest(guest, f"cd /mnt && fio {FIO_DEFAULTS} --size=4M --end_fsync=1 --output=/tmp/fio.log")
        _guest(guest, "grep -E 'READ|WRITE|err=' /tmp/fio.log")
        self._checksums[filesystem] = _guest(guest, CHECKSUMS)
        _guest(guest, "umount /mnt")
        _guest(guest, f"{CHECKS[filesystem]} {device}")

    def _restart(self) -> None:
        self._engine.stop()
        print("   io-engine: stopped by SIGTERM")
        for controller in self._controllers.values():
            controller.wait_for_state("connecting")
        print("   Linux: connection lost, tries again once a second", flush=True)
        self._engine.start()
        print("   io-engine: started")
        self._share()
        for controller in self._controllers.values():
            controller.wait_for_state("live")
        print("   Linux: reconnected", flush=True)

    def _compare(self, guest: Guest, filesystem: str) -> None:
        device = self._controllers[filesystem].device
        _guest(guest, f"mount -t {filesystem} {device} /mnt")
        expect_equal(_guest(guest, CHECKSUMS), self._checksums[filesystem], f"checksums on {filesystem}")
        _guest(guest, "umount /mnt")
        _guest(guest, f"{CHECKS[filesystem]} {device}")

    def _client(self, *arguments: str) -> str:
        print(f"   $ io-engine-client {' '.join(arguments)}", flush=True)
        return _shown(self._engine.client(*arguments))


def _guest(guest: Guest, command: str) -> str:
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
    with tempfile.TemporaryDirectory(prefix="cairn-demo-") as folder:
        demo = Demo(Engine(options.engine, options.client, pathlib.Path(folder)), pathlib.Path(folder))
        error = None
        try:
            demo.run()
        except (EngineError, GuestError, Failure) as failure:
            error = failure
    print("\n" + "-" * 70)
    for title, seconds in demo.shown:
        print(f"ok    {title:54} {seconds:6.1f} s")
    if error:
        print(f"FAIL  {error}")
    return 1 if error else 0


if __name__ == "__main__":
    sys.exit(main())
