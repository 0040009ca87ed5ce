"""The engine under test: a process on the host, and the commands a user gives it through its client."""

import pathlib
import re
import signal
import socket
import subprocess
import time

import child_process

START_TIMEOUT_S = 20
STOP_GRACE_S = 10
CLIENT_TIMEOUT_S = 20
LOG_LINES_IN_ERRORS = 25

BINARIES = pathlib.Path(__file__).resolve().parents[2] / "build/release/bin"

NQN_PREFIX = "nqn.2019-05.io.openebs:"


class EngineError(Exception):
    pass


class Engine:
    """An io-engine on ports of its own. Entering the context starts it; it may be stopped, killed and started at will.

    It forgets its devices when it ends, as the product does: whoever starts it again creates and shares them again.
    """

    def __init__(self, engine: pathlib.Path, client: pathlib.Path, folder: pathlib.Path, options: tuple[str, ...] = ()):
        self._engine = engine
        self._client = client
        self._options = options
        self._process: subprocess.Popen | None = None
        self.grpc_port, self.port, nexus_port = _free_ports(3)
        self.log_path = folder / "engine.log"
        self._config = folder / "engine.yaml"
        self._config.write_text(f"nexus_opts:\n  nvmf_replica_port: {self.port}\n  nvmf_nexus_port: {nexus_port}\n")

    def __enter__(self) -> "Engine":
        self.start()
        return self

    def __exit__(self, *_) -> None:
        if self._process and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def start(self) -> None:
        """Returns when it answers its client."""
        with self.log_path.open("ab") as log:
            self._process = child_process.spawn(
                [self._engine, "--grpc-port", str(self.grpc_port), "-y", self._config, *self._options],
                stdout=log, stderr=log)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _accepts(self.grpc_port):
            if self._process.poll() is not None:
                raise EngineError(f"the engine ended with {self._process.returncode} at its start; {self.log_tail()}")
            if time.monotonic() > deadline:
                raise EngineError(f"the engine did not open port {self.grpc_port} within {START_TIMEOUT_S} s; "
                                  f"{self.log_tail()}")
            time.sleep(0.02)
        self.client("bdev", "list")

    def stop(self) -> None:
        """As an operator does it, with SIGTERM; an exit code other than 0 is an error."""
        code = child_process.stop(self._process, STOP_GRACE_S)
        if code == -signal.SIGKILL:
            raise EngineError(f"the engine was still there {STOP_GRACE_S} s after SIGTERM; {self.log_tail()}")
        if code != 0:
            raise EngineError(f"the engine ended with {code} after SIGTERM; {self.log_tail()}")

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()
        self._process.wait()

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def client(self, *arguments: str) -> str:
        result = subprocess.run([self._client, "-b", f"http://127.0.0.1:{self.grpc_port}", *arguments],
                                text=True, capture_output=True, timeout=CLIENT_TIMEOUT_S)
        if result.returncode != 0:
            raise EngineError(f"io-engine-client {' '.join(arguments)}: exit code {result.returncode}\n"
                              f"{result.stdout}{result.stderr}{self.log_tail()}")
        return result.stdout

    def create_and_share(self, uri: str) -> str:
        """Returns the NQN under which hosts find the device."""
        name = self.client("bdev", "create", uri).strip()
        self.client("bdev", "share", name)
        return NQN_PREFIX + name

    def bdev(self, name: str) -> dict[str, str]:
        """The device's row of `bdev list`, by the names of the columns."""
        header, *rows = (re.split(r" +", line.strip()) for line in self.client("bdev", "list").splitlines())
        for row in rows:
            if name in row:
                return dict(zip(header, row))
        raise EngineError(f"bdev list does not show {name}: {rows}")

    def log_tail(self) -> str:
        lines = self.log_path.read_text(errors="replace").splitlines()
        return "last lines of the engine's log:\n" + "\n".join(lines[-LOG_LINES_IN_ERRORS:])


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    return ports


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False
