"""Where nexuses keep the health of their children, and how a control plane reads it: etcd on a node of its own, or files."""

import contextlib
import json
import pathlib
import signal
import subprocess
import threading

import child_process
from network import NetworkNode

PORT = 2379
READY_TIMEOUT_S = 20

# A slow store stands still for most of the time.
SLOW_STOPPED_S = 0.4
SLOW_RUNNING_S = 0.05


class StoreError(Exception):
    pass


class FileStore:
    """Records as files that all engines of this machine share: no etcd, and no faults of it."""

    def __init__(self, folder: pathlib.Path):
        self._folder = folder / "records"
        self._folder.mkdir()
        self.engine_options = ("--child-health-dir", str(self._folder))

    def record(self, key: str) -> dict | None:
        path = self._folder / f"{key}.json"
        return json.loads(path.read_text()) if path.exists() else None


class EtcdStore:
    def __init__(self, wire: NetworkNode, folder: pathlib.Path):
        self._wire = wire
        self._folder = folder / "etcd"
        self._log = folder / "etcd.log"
        self._process: subprocess.Popen | None = None
        self._slow = threading.Event()
        self._slow_thread: threading.Thread | None = None
        self.endpoint = f"{wire.address}:{PORT}"
        self.engine_options = ("-p", f"http://{self.endpoint}")

    def __enter__(self) -> "EtcdStore":
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self.be_fast()
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def start(self) -> None:
        url, peer = f"http://{self.endpoint}", "http://127.0.0.1:2380"
        with self._log.open("ab") as log:
            self._process = child_process.spawn(
                self._wire.inside("etcd", "--data-dir", self._folder, "--listen-client-urls", url, "--advertise-client-urls", url,
                                  "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster",
                                  f"default={peer}"), stdout=log, stderr=log)
        result = self._etcdctl("--command-timeout", f"{READY_TIMEOUT_S}s", "--dial-timeout", f"{READY_TIMEOUT_S}s",
                               "endpoint", "health")
        if result.returncode != 0:
            raise StoreError(f"etcd is not ready: {result.stdout}{result.stderr}{self._log.read_text()[-2000:]}")

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def be_slow(self) -> None:
        """Until be_fast()."""
        self._slow.set()
        self._slow_thread = threading.Thread(target=self._stand_still_again_and_again, daemon=True)
        self._slow_thread.start()

    def be_fast(self) -> None:
        self._slow.clear()
        if self._slow_thread:
            self._slow_thread.join()
            self._slow_thread = None

    def record(self, key: str) -> dict | None:
        """{"clean_shutdown": bool, "children": [{"uuid", "healthy"}]}; None: there is none."""
        result = self._etcdctl("get", "--print-value-only", key)
        if result.returncode != 0:
            raise StoreError(f"etcdctl get {key}: {result.stderr}")
        return json.loads(result.stdout) if result.stdout.strip() else None

    def _stand_still_again_and_again(self) -> None:
        done = threading.Event()
        while self._slow.is_set():
            for number, seconds in ((signal.SIGSTOP, SLOW_STOPPED_S), (signal.SIGCONT, SLOW_RUNNING_S)):
                with contextlib.suppress(ProcessLookupError):
                    self._process.send_signal(number)
                done.wait(seconds)

    def _etcdctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self._wire.inside("env", "ETCDCTL_API=3", "etcdctl", "--endpoints", self.endpoint, *arguments),
                              text=True, capture_output=True, timeout=3 * READY_TIMEOUT_S)
