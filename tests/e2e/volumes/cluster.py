"""Three storage nodes, a store and a Linux host on a network of our own: real processes, real wires.

 guest (QEMU, 10.0.2.15) ─┐
 node a (10.0.2.101)     ─┤
 node b (10.0.2.102)     ─┼─ bridge
 node c (10.0.2.103)     ─┤
 store (10.0.2.110)      ─┘

Each node is a namespace with an io-engine, which has a pool on a sparse file.
"""

import contextlib
import json
import pathlib
import resource
import sys
import time
from typing import Callable

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1] / "harness"), str(HERE.parents[1] / "vm")]

from engine_process import BINARIES, TIME_FACTOR, Engine, EngineError  # noqa: E402
from guest import Guest  # noqa: E402
from network import Network, NetworkNode  # noqa: E402
from nvme_host import NvmeHost  # noqa: E402
from store import EtcdStore, FileStore  # noqa: E402

KERNEL = "6.12"
MIB = 1 << 20
POOL_MIB = 512
CLUSTER_MIB = 1
BALLAST = "ba11a570-0000-4000-8000-000000000000"  # a replica that only takes space

# An engine whose writes to files fail beyond this offset: the metadata of a pool lies below, its data above.
BAD_DISK_OFFSET = 4 * MIB


class ClusterError(Exception):
    pass


def until(what: str, condition: Callable[[], object], timeout_s: float = 60 * TIME_FACTOR,
          state: Callable[[], object] = lambda: "") -> None:
    """Looks again and again; not within the time-out is an error, which tells the state at the end."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise ClusterError(f"not within {timeout_s:g} s: {what}; {state()}")
        time.sleep(0.05)


class Node:
    """A storage node. `reachable` is what a control plane would find: nothing is wrong with process and link."""

    def __init__(self, name: str, wire: NetworkNode, folder: pathlib.Path, bin_folder: pathlib.Path,
                 options: tuple[str, ...]):
        self.name = name
        self.wire = wire
        self.reachable = True
        self.pool = f"pool-{name}"
        self.disk = folder / "disk"
        folder.mkdir()
        with self.disk.open("wb") as file:
            file.truncate(POOL_MIB * MIB)
        # Writes that set_bad_disk() fails are to end with an error, not with a signal.
        prefix = (*wire.inside(), "env", "--ignore-signal=XFSZ")
        reservations = folder / "ptpl"  # that hosts made, and that outlive the engine
        reservations.mkdir()
        self.engine = Engine(bin_folder / "io-engine", bin_folder / "io-engine-client", folder,
                             ("-T", f"ip:{wire.address}", "-N", name, "--ptpl-dir", str(reservations), *options), prefix=prefix, target_ip=wire.address,
                             environment={"NEXUS_NVMF_ANA_ENABLE": "1", "NEXUS_NVMF_RESV_ENABLE": "1"})

    def start(self) -> None:
        """Also after a crash: the pool and its replicas are there again, those that were shared are shared."""
        self.engine.start()
        self.engine.client("pool", "create", self.pool, f"aio://{self.disk}?blk_size=512", "--cluster-size",
                           f"{CLUSTER_MIB}MiB")
        self.reachable = True

    def crash(self) -> None:
        self.reachable = False
        self.engine.kill()

    def set_bad_disk(self, bad: bool) -> None:
        """While it is bad, the kernel refuses writes to the pool's data with an error; reads are fine."""
        limit = BAD_DISK_OFFSET if bad else resource.RLIM_INFINITY
        resource.prlimit(self.engine.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    def fill_pool(self) -> None:
        """What is left of the pool goes to a replica of no use: thin volumes find no space any more."""
        (pool,) = [each for each in self.query("pool", "list")["pools"] if each["name"] == self.pool]
        free_mib = (int(pool["capacity"]) - int(pool["used"])) // MIB // CLUSTER_MIB * CLUSTER_MIB
        self.engine.client("replica", "create", BALLAST, BALLAST, self.pool, "--size", f"{free_mib}MiB")

    def empty_pool(self) -> None:
        self.engine.client("replica", "destroy", BALLAST)

    def query(self, *command: str) -> dict:
        """What a command of the client answers, as JSON."""
        return json.loads(self.engine.client("-o", "json", *command))


class Cluster:
    """Entering the context starts everything; leaving it ends everything and checks what the engines said."""

    def __init__(self, folder: pathlib.Path, bin_folder: pathlib.Path = BINARIES, engine_options: tuple[str, ...] = (),
                 etcd: bool = True):
        self._folder = folder
        self._bin = bin_folder
        self._options = engine_options
        self._etcd = etcd
        self._running = contextlib.ExitStack()
        self.nodes: list[Node] = []
        self.store: EtcdStore | FileStore | None = None

    def __enter__(self) -> "Cluster":
        with contextlib.ExitStack() as running:
            self.network = running.enter_context(Network())
            if self._etcd:
                self.store = running.enter_context(EtcdStore(self.network.add_node("store", 110), self._folder))
            else:
                self.store = FileStore(self._folder)
            options = (*self.store.engine_options, *self._options)
            for number, name in enumerate("abc"):
                wire = self.network.add_node(name, 101 + number)
                node = Node(name, wire, self._folder / name, self._bin, options)
                running.callback(self._end, node)
                node.start()
                self.nodes.append(node)
            self.guest = running.enter_context(Guest(KERNEL, cpus=2, network=self.network, logs=self._folder))
            self.host = NvmeHost(self.guest)
            self._running = running.pop_all()
        return self

    def __exit__(self, *_) -> None:
        self._running.close()

    @property
    def host_port(self) -> str:
        """Where the Linux host is plugged into the bridge."""
        return self.guest.tap

    @property
    def bin_folder(self) -> pathlib.Path:
        return self._bin

    def mend_all(self) -> None:
        for node in self.nodes:
            node.wire.mend()

    @staticmethod
    def _end(node: Node) -> None:
        if node.engine.alive:
            node.engine.kill()
        node.engine.check_log()

    def check_engines(self) -> None:
        """No engine has ended by itself, none has complained."""
        for node in self.nodes:
            node.engine.check_alive()
            node.engine.check_log()


__all__ = ["BINARIES", "MIB", "Cluster", "ClusterError", "EngineError", "Node", "TIME_FACTOR", "until"]
