"""What a scenario is, and what it gets to work with."""

import contextlib
import dataclasses
import pathlib
from typing import Callable, Iterator

from engine import Engine
from guest import Guest
from image import KERNELS
from nvme_host import NvmeHost

MAIN_KERNEL = "6.12"


# Linux drops a namespace that comes back with other identifiers, so a device that is to survive a restart names its own.
DEVICE_UUID = "7c5f4a3e-2b1d-4e6f-8a9b-0c1d2e3f4a5b"


class Failure(Exception):
    """An expectation that did not hold."""


def expect(condition: object, message: str) -> None:
    if not condition:
        raise Failure(message)


def expect_equal(actual: object, expected: object, what: str) -> None:
    expect(actual == expected, f"{what}: expected {expected!r}, got {actual!r}")


@dataclasses.dataclass
class Rig:
    """A booted guest, shared by the scenarios of a run, and a folder on the host of the scenario's own."""

    guest: Guest
    host: NvmeHost
    folder: pathlib.Path
    engine_program: pathlib.Path
    client_program: pathlib.Path

    def engine(self, *options: str) -> Engine:
        return Engine(self.engine_program, self.client_program, self.folder, options)

    def another_guest(self, number: int, forward: dict[int, int] | None = None) -> Guest:
        """A further host, to be entered as a context; its number differs from 1 and those of its peers."""
        return Guest(self.guest.kernel, number=number, logs=self.folder, forward=forward)

    def sparse_file(self, name: str, size_mib: int) -> pathlib.Path:
        path = self.folder / name
        with path.open("wb") as file:
            file.truncate(size_mib << 20)
        return path

    def persistent_device(self, size_mib: int, block_bytes: int = 512) -> str:
        """URI of a device in a new file. It stays the same namespace when the engine is started again."""
        path = self.sparse_file("disk", size_mib)
        return f"aio://{path}?blk_size={block_bytes}&uuid={DEVICE_UUID}"

    @contextlib.contextmanager
    def mounted(self, device: str, filesystem: str) -> Iterator[str]:
        """The mount point, for as long as the context lasts."""
        self.guest.check(f"mount -t {filesystem} {device} /mnt")
        try:
            yield "/mnt"
        finally:
            self.guest.check("umount /mnt")

    def fio(self, job: str, timeout_s: float = 120) -> None:
        """Runs fio with the given job options; an I/O or verification error fails."""
        self.guest.check(f"cd /tmp && fio {FIO_DEFAULTS} {job}", timeout_s)


# Every block is written with a checksum of its content, then all are read back.
FIO_DEFAULTS = ("--name=verify --thread --ioengine=libaio --direct=1 --iodepth=16 --bs=4k --rw=randwrite "
                "--verify=crc32c --verify_fatal=1 --do_verify=1 --verify_state_save=0")

CHECKSUMS = "cd /mnt && find . -type f | sort | xargs sha256sum"  # of all files of the mounted file system


@dataclasses.dataclass(frozen=True)
class Scenario:
    name: str
    run: Callable[[Rig], None]
    quick_on: tuple[str, ...]  # kernels on which the quick run has it
    needs_engine: bool


SCENARIOS: list[Scenario] = []


def scenario(*, quick_on: tuple[str, ...] = (MAIN_KERNEL,), needs_engine: bool = True):
    """Registers a function as a scenario under its own name. The full run has every scenario on every kernel."""
    assert set(quick_on) <= set(KERNELS), quick_on

    def register(function: Callable[[Rig], None]) -> Callable[[Rig], None]:
        SCENARIOS.append(Scenario(function.__name__, function, quick_on, needs_engine))
        return function
    return register
