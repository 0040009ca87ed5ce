"""A virtual machine with a real Linux kernel, in which the host runs shell commands.

QEMU emulates the processor (no KVM needed). The agent inside (guest/agent.c) takes commands over a virtio-serial port
and streams their output back; the kernel's console goes to a file. The guest reaches the host's 127.0.0.1 as 10.0.2.2, or
is on the bridge of a network of namespaces (harness/network.py).

    with Guest("6.12") as guest:
        guest.check("nvme list")
        job = guest.start("fio ...")
        job.wait(timeout_s=60)
"""

import pathlib
import re
import socket
import sys
import tempfile
import threading
import time
from typing import Callable, NamedTuple

import image

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "harness"))

import child_process  # noqa: E402
from network import Network  # noqa: E402

HOST_ADDRESS = "10.0.2.2"  # as the guest sees it

BOOT_TIMEOUT_S = 60  # a boot takes 2 to 3 s on an idle machine
COMMAND_TIMEOUT_S = 60
CONSOLE_LINES_IN_ERRORS = 25

KERNEL_COMMAND_LINE = ("console=ttyS0 quiet cryptomgr.notests mitigations=off nokaslr audit=0 panic=-1 "
                       "random.trust_cpu=on")


class GuestError(Exception):
    pass


class CommandFailed(GuestError):
    pass


class Result(NamedTuple):
    status: int  # as in a shell: 128 + N when killed by signal N
    output: str  # standard output and error


class Job:
    """A command running in a guest. Its methods may be called from any thread."""

    def __init__(self, guest: "Guest", number: int, command: str):
        self.command = command
        self._guest = guest
        self._number = number
        self._output = bytearray()
        self._status: int | None = None

    @property
    def output(self) -> str:
        """All that was printed so far."""
        return self._output.decode(errors="replace")

    @property
    def running(self) -> bool:
        return self._status is None

    def wait(self, timeout_s: float = COMMAND_TIMEOUT_S) -> Result:
        self._guest._wait(lambda: self._status is not None, timeout_s, f"command `{self.command}`", lambda: self.output)
        return Result(self._status, self.output)

    def wait_for_output(self, pattern: str, timeout_s: float = COMMAND_TIMEOUT_S) -> re.Match:
        """Until what was printed matches; fails early when the command ends without."""
        self._guest._wait(lambda: re.search(pattern, self.output) or self._status is not None, timeout_s,
                          f"output matching /{pattern}/ of `{self.command}`", lambda: self.output)
        if match := re.search(pattern, self.output):
            return match
        raise CommandFailed(f"`{self.command}` ended with {self._status} and never printed /{pattern}/:\n{self.output}")

    def kill(self, signal: int) -> None:
        self._guest._send(f"kill {self._number} {signal}\n".encode())


class Guest:
    """Life cycle: entering the context boots it, leaving it kills it. Nothing in a guest survives."""

    def __init__(self, kernel: str, *, cpus: int = 1, memory_mib: int = 512, number: int = 1,
                 logs: pathlib.Path | None = None, forward: dict[int, int] | None = None, network: Network | None = None):
        """number: 1..240, tells several guests apart (address, MAC, host NQN). logs: where the console's file goes.

        forward: ports of the host's 127.0.0.1 that lead to ports of the guest. network: the guest is on its bridge."""
        self._forward = forward or {}
        self._network = network
        self.kernel = kernel
        self.number = number
        self.boot_seconds = 0.0
        self._image = image.ensure_image(kernel)
        self._cpus = cpus
        self._memory_mib = memory_mib
        self._temporary = None if logs else tempfile.TemporaryDirectory(prefix="cairn-guest-")
        self.console_path = (logs or pathlib.Path(self._temporary.name)) / f"console-{kernel}-{number}.log"
        self._jobs: dict[int, Job] = {}
        self._changed = threading.Condition()
        self._ready = False
        self._lost: str | None = None  # why nothing more will come from the guest

    def __enter__(self) -> "Guest":
        started = time.monotonic()
        if self._network:
            self._network.add_tap(self.tap)
        self._control, qemu_end = socket.socketpair()
        with qemu_end:
            try:
                with self.console_path.open("wb") as console:  # takes QEMU's own complaints too
                    self._qemu = child_process.spawn(self._qemu_command(qemu_end.fileno()),
                                                     pass_fds=[qemu_end.fileno()], stdout=console, stderr=console)
            except FileNotFoundError as error:
                raise GuestError(f"{error.filename} is not installed; see tests/vm/packages.txt") from error
        threading.Thread(target=self._receive, daemon=True).start()
        try:
            self._wait(lambda: self._ready, BOOT_TIMEOUT_S, "boot", self.console_tail)
        except BaseException:
            self.__exit__()
            raise
        self.boot_seconds = time.monotonic() - started
        return self

    def __exit__(self, *_) -> None:
        self._qemu.kill()
        self._qemu.wait()
        self._control.close()
        if self._temporary:
            self._temporary.cleanup()

    @property
    def tap(self) -> str:
        """Its interface on the bridge of a network."""
        return f"tap{self.number}"

    @property
    def version(self) -> str:
        """The kernel's full version, such as 6.12.38+deb12-amd64."""
        return self._image.version

    def run(self, command: str, timeout_s: float = COMMAND_TIMEOUT_S) -> Result:
        return self.start(command).wait(timeout_s)

    def check(self, command: str, timeout_s: float = COMMAND_TIMEOUT_S) -> str:
        """Runs a command that has to succeed; returns what it printed."""
        status, output = self.run(command, timeout_s)
        if status != 0:
            raise CommandFailed(f"`{command}` failed in the guest with {status}:\n{output.rstrip()}")
        return output

    def start(self, command: str) -> Job:
        with self._changed:
            job = Job(self, len(self._jobs), command)
            self._jobs[job._number] = job
        encoded = command.encode()
        self._send(f"run {job._number} {len(encoded)}\n".encode() + encoded)
        return job

    def wait_until(self, condition: str, timeout_s: float = COMMAND_TIMEOUT_S) -> None:
        """Until a shell condition holds, looked at again and again inside the guest."""
        loop = f"timeout {timeout_s:g} sh -c 'until {condition}; do sleep 0.05; done'"
        status, output = self.run(loop, timeout_s + COMMAND_TIMEOUT_S)
        if status != 0:
            complaint = "".join(output.splitlines(keepends=True)[-2:])  # the same at every look
            raise GuestError(f"guest {self.number}: `{condition}` did not become true within {timeout_s:g} s; {complaint}")

    def kernel_log(self) -> str:
        return self.check(f"dmesg -s {1 << 20}")

    def console_tail(self) -> str:
        try:
            lines = self.console_path.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return "(the console is empty)"
        return "last lines of the console:\n" + "\n".join(lines[-CONSOLE_LINES_IN_ERRORS:])

    def _qemu_command(self, control_descriptor: int) -> list:
        mac = f"52:54:00:ca:12:{self.number:02x}"  # fixed: a stale ARP entry costs the first connection seconds
        forwards = "".join(f",hostfwd=tcp:127.0.0.1:{port}-10.0.2.{14 + self.number}:{inside}"
                           for port, inside in self._forward.items())
        link = f"tap,id=net,ifname={self.tap},script=no,downscript=no" if self._network else f"user,id=net{forwards}"
        return [
            *(self._network.on_bridge_command() if self._network else []), "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-machine", "q35", "-accel", "tcg,thread=single", "-cpu", "max",
            "-smp", str(self._cpus), "-m", f"{self._memory_mib}M",
            "-kernel", self._image.vmlinux, "-initrd", self._image.initramfs,
            "-append", f"{KERNEL_COMMAND_LINE} cairn.guest={self.number}",
            "-chardev", f"file,id=console,append=on,path={self.console_path}", "-serial", "chardev:console",
            "-device", "virtio-serial-pci",
            "-chardev", f"socket,id=control,fd={control_descriptor}",
            "-device", "virtserialport,chardev=control,name=cairn.control",
            "-netdev", link, "-device", f"virtio-net-pci,netdev=net,mac={mac},romfile=",
        ]

    def _send(self, frame: bytes) -> None:
        try:
            self._control.sendall(frame)
        except OSError as error:
            raise GuestError(f"the guest is gone ({error}); {self.console_tail()}") from error

    def _wait(self, condition: Callable[[], object], timeout_s: float, what: str, evidence: Callable[[], str]) -> None:
        """evidence: what to show of the state when it takes too long."""
        with self._changed:
            self._changed.wait_for(lambda: condition() or self._lost, timeout_s)
            if condition():
                return
        if self._lost:
            raise GuestError(f"guest {self.number} died during {what}: {self._lost}; {self.console_tail()}")
        raise GuestError(f"guest {self.number}: {what} not done within {timeout_s:g} s; {evidence()}")

    def _receive(self) -> None:
        """Runs in a thread of its own until the guest ends: takes the agent's frames apart."""
        reason = "QEMU ended"
        try:
            with self._control.makefile("rb") as stream:
                while line := stream.readline():
                    self._take_frame(line, stream)
        except (OSError, ValueError, KeyError) as error:
            reason = f"control channel: {error!r}"
        with self._changed:
            self._lost = reason
            self._changed.notify_all()

    def _take_frame(self, line: bytes, stream) -> None:
        match line.split():
            case [b"ready"]:
                with self._changed:
                    self._ready = True
                    self._changed.notify_all()
            case [b"out", number, length]:
                content = stream.read(int(length))
                with self._changed:
                    self._jobs[int(number)]._output += content
                    self._changed.notify_all()
            case [b"exit", number, status]:
                with self._changed:
                    self._jobs[int(number)]._status = int(status)
                    self._changed.notify_all()
            case _:
                raise ValueError(f"unknown frame {line!r}")
