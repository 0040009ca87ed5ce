"""A real etcd of one member on loopback, in a folder of its own, and what a user reads from it with etcdctl."""

import pathlib
import signal
import subprocess
import time

import child_process
from free_ports import free_ports

START_TIMEOUT_S = 60
CALL_TIMEOUT_S = 20


class EtcdError(Exception):
    pass


class Etcd:
    """Entering the context starts it. It may be paused, killed and started again; what it has stored stays."""

    def __init__(self, folder: pathlib.Path):
        self._folder = folder
        self._client_port, self._peer_port = free_ports(2)
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> "Etcd":
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self.kill()

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self._client_port}"

    def start(self) -> None:
        """Returns when it serves. Call it from the main thread."""
        self._folder.mkdir(exist_ok=True)
        client, peer = f"http://{self.endpoint}", f"http://127.0.0.1:{self._peer_port}"
        with (self._folder / "log").open("ab") as log:
            self._process = child_process.spawn(
                ["etcd", "--data-dir", self._folder / "data", "--listen-client-urls", client, "--advertise-client-urls", client,
                 "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"],
                stdout=log, stderr=log)
        deadline = time.monotonic() + START_TIMEOUT_S
        while self._etcdctl("endpoint", "health", "--command-timeout=1s").returncode != 0:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise EtcdError(f"etcd does not serve:\n{(self._folder / 'log').read_text(errors='replace')[-3000:]}")

    def pause(self) -> None:
        """It stands still, with its connections open, until it goes on."""
        child_process.freeze(self._process.pid)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def get(self, key: str) -> str | None:
        """The value of the key; None when there is no such key."""
        result = self._etcdctl("get", key)
        if result.returncode != 0:
            raise EtcdError(f"etcdctl get {key}: {result.stderr}")
        lines = result.stdout.splitlines()
        return lines[1] if lines else None

    def keys(self) -> list[str]:
        return [line for line in self._etcdctl("get", "", "--prefix", "--keys-only").stdout.splitlines() if line]

    def put(self, key: str, value: str) -> None:
        result = self._etcdctl("put", key, value)
        if result.returncode != 0:
            raise EtcdError(f"etcdctl put {key}: {result.stderr}")

    def _etcdctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["etcdctl", "--endpoints", self.endpoint, *arguments], text=True, capture_output=True,
                              timeout=CALL_TIMEOUT_S)
