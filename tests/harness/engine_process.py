"""The engine under test: a process on this machine, and the commands a user gives it through its clients."""

import json
import os
import pathlib
import re
import resource
import select
import signal
import subprocess
import time

import child_process
from free_ports import free_ports

TIME_FACTOR = float(os.environ.get("CAIRN_TIME_FACTOR", "1"))  # sanitizers are slower
START_TIMEOUT_S = 20 * TIME_FACTOR
STOP_GRACE_S = 10 * TIME_FACTOR
CLIENT_TIMEOUT_S = 20 * TIME_FACTOR
LOG_LINES_IN_ERRORS = 25

BINARIES = pathlib.Path(__file__).resolve().parents[2] / "build/release/bin"

NQN_PREFIX = "nqn.2019-05.io.openebs:"

# What no engine may ever say: a report of a sanitizer, a check of the program's own logic.
COMPLAINTS = re.compile(r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|MemorySanitizer|runtime error:|check failed:|"
                        r"terminate called|stack smashing")


class EngineError(Exception):
    pass


class Engine:
    """An io-engine on ports of its own. Entering the context starts it; it may be stopped, killed and started at will.

    It forgets its devices when it ends, as the product does: whoever starts it again creates and shares them again.
    """

    def __init__(self, engine: pathlib.Path, client: pathlib.Path, folder: pathlib.Path, options: tuple[str, ...] = (),
                 environment: dict[str, str] | None = None, target_ip: str = "127.0.0.1", prefix: tuple[str, ...] = ()):
        """prefix: a command before the engine's and its client's, such as one that takes them into a namespace."""
        self._engine = engine
        self._client = client
        self._options = options
        self._environment = environment or {}
        self._prefix = prefix
        self._process: subprocess.Popen | None = None
        self._ended = False  # because somebody wanted it to
        self.target_ip = target_ip
        self.grpc_port, self.port, self.nexus_port = free_ports(3)
        self.folder = folder
        self.log_path = folder / "engine.log"
        self.json_rpc_socket = folder / "engine.sock"
        self.banner = ""
        self._config = folder / "engine.yaml"
        self._config.write_text(f"nexus_opts:\n  nvmf_replica_port: {self.port}\n  nvmf_nexus_port: {self.nexus_port}\n")

    def __enter__(self) -> "Engine":
        self.start()
        return self

    def __exit__(self, *_) -> None:
        if self.alive:
            self.kill()

    def command(self) -> list[str | pathlib.Path]:
        return [*self._prefix, self._engine, "--grpc-ip", "127.0.0.1", "--grpc-port", str(self.grpc_port), "-r", self.json_rpc_socket,
                "-y", self._config, *self._options]

    def start(self) -> None:
        """Returns when it has said that it serves."""
        with self.log_path.open("ab") as log:
            self._process = child_process.spawn(self.command(), stdout=subprocess.PIPE, stderr=log,
                                                env={**os.environ, **self._environment})
        self._ended = False
        self.banner = self._read_banner()
        self.client("bdev", "list")

    def _read_banner(self) -> str:
        deadline = time.monotonic() + START_TIMEOUT_S
        output = self._process.stdout
        banner = b""
        while not banner.endswith(b"\n"):
            readable, _, _ = select.select([output], [], [], max(0, deadline - time.monotonic()))
            if not readable:
                raise EngineError(f"the engine was not ready within {START_TIMEOUT_S} s; {self.log_tail()}")
            some = os.read(output.fileno(), 65536)
            if not some:
                raise EngineError(f"the engine ended with {self._process.wait()} at its start; {self.log_tail()}")
            banner += some
        return banner.decode(errors="replace")

    def stop(self) -> None:
        """As an operator does it, with SIGTERM; an exit code other than 0 is an error, and so is any complaint."""
        self._ended = True
        code = child_process.stop(self._process, STOP_GRACE_S)
        if code == -signal.SIGKILL:
            raise EngineError(f"the engine was still there {STOP_GRACE_S} s after SIGTERM; {self.log_tail()}")
        self._process.stdout.close()
        if code != 0:
            raise EngineError(f"the engine ended with {code} after SIGTERM; {self.log_tail()}")
        self.check_log()

    def kill(self) -> None:
        """kill -9."""
        self._ended = True
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def freeze(self) -> None:
        """SIGSTOP: the process stands still, its connections stay open."""
        child_process.freeze(self._process.pid)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def check_log(self) -> None:
        found = COMPLAINTS.search(self.log_path.read_text(errors="replace"))
        if found:
            text = self.log_path.read_text(errors="replace")
            raise EngineError(f"the engine complained:\n{text[max(0, found.start() - 500):found.end() + 6000]}")

    def check_alive(self) -> None:
        """An engine that nobody has stopped or killed and that is gone is an error."""
        if self._process is not None and not self._ended and self._process.poll() is not None:
            raise EngineError(f"the engine ended by itself with {self._process.returncode}; {self.log_tail()}")

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid

    def client_result(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Whatever the exit code."""
        return subprocess.run([*self._prefix, self._client, "-b", f"http://127.0.0.1:{self.grpc_port}", *arguments],
                              text=True, capture_output=True, timeout=CLIENT_TIMEOUT_S)

    def client(self, *arguments: str) -> str:
        result = self.client_result(*arguments)
        if result.returncode != 0:
            raise EngineError(f"io-engine-client {' '.join(arguments)}: exit code {result.returncode}\n"
                              f"{result.stdout}{result.stderr}{self.log_tail()}")
        return result.stdout

    def json_rpc(self, method: str, parameters: dict | None = None):
        """The method's result."""
        return json.loads(self.client("jsonrpc", method, *([json.dumps(parameters)] if parameters else [])))

    def create_and_share(self, uri: str) -> str:
        """Returns the NQN under which hosts find the device."""
        name = self.client("bdev", "create", uri).strip()
        self.client("bdev", "share", name)
        return NQN_PREFIX + name

    def bdev(self, name: str) -> dict[str, str]:
        """The device's row of `bdev list`, by the names of the columns."""
        header, *rows = self.client("bdev", "list").splitlines()
        starts = [match.start() for match in re.finditer(r"\S+", header)]
        columns = [slice(start, end) for start, end in zip(starts, [*starts[1:], None])]
        for row in rows:
            cells = {header[column].strip(): row[column].strip() for column in columns}
            if cells["NAME"] == name:
                return cells
        raise EngineError(f"bdev list does not show {name}: {rows}")

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def resident_bytes(self) -> int:
        pages = int(pathlib.Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize()

    def cpu_seconds(self) -> float:
        # The fields after the command's name, which may hold spaces: utime and stime are the 14th and 15th of all.
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def log_tail(self) -> str:
        lines = self.log_path.read_text(errors="replace").splitlines()
        return "last lines of the engine's log:\n" + "\n".join(lines[-LOG_LINES_IN_ERRORS:])
