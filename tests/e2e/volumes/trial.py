"""A volume of three replicas in use by the Linux host, ready to be hurt."""

import contextlib
import pathlib
import subprocess
import time

from cluster import BINARIES, MIB, Cluster, ClusterError, Node, until
from paths import Paths
from volume import Volume
from workload import Workload

VOLUME_MIB = 160
FRESH_BEGIN_MIB, FRESH_MIB = 32, 2  # areas that nobody has written yet, taken one after the other
SHUTDOWN = 5  # as a state of a nexus in JSON
FENCED_WRITE_TIMEOUT_S = 120


class Trial:
    def __init__(self, folder: pathlib.Path, bin_folder: pathlib.Path = BINARIES, *, etcd: bool = True):
        self._folder = folder
        self.cluster = Cluster(folder, bin_folder, etcd=etcd)
        self._running = contextlib.ExitStack()
        self._fresh: list[int] = []  # offsets, MiB, of the areas written by write_fresh_area()

    def __enter__(self) -> "Trial":
        with contextlib.ExitStack() as running:
            running.enter_context(self.cluster)
            self.volume = Volume(self.cluster, self.cluster.nodes, VOLUME_MIB)
            self.volume.publish(self.cluster.nodes[0])
            self.paths = Paths(self.cluster.host, self.volume.nqn)
            self.workload = Workload(self.cluster.guest, self.paths.open(self.cluster.nodes[0]))
            self._running = running.pop_all()
        return self

    def __exit__(self, *_) -> None:
        self._running.close()

    @property
    def target(self) -> Node:
        return self.volume.target

    @property
    def others(self) -> list[Node]:
        """The nodes that only hold a replica."""
        return [node for node in self.cluster.nodes if node is not self.target]

    def write_fresh_area(self) -> None:
        """Random data where thin replicas have no space yet; an error of any write is an error."""
        taken = FRESH_BEGIN_MIB + len(self._fresh) * FRESH_MIB
        offset = taken if taken + FRESH_MIB <= VOLUME_MIB else FRESH_BEGIN_MIB
        self._fresh.append(offset)
        self.cluster.guest.check(
            f"cd /tmp && head -c {FRESH_MIB * MIB} /dev/urandom >fresh{offset} && "
            f"dd if=fresh{offset} of={self.paths.device} bs=65536 seek={offset * 16} oflag=direct", 120)

    def check_fresh_areas(self) -> None:
        for offset in sorted(set(self._fresh)):
            self.cluster.guest.check(f"cd /tmp && dd if={self.paths.device} bs=1M skip={offset} count={FRESH_MIB} iflag=direct "
                                     f"2>/dev/null | cmp - fresh{offset}")

    def finish(self) -> None:
        """The applications end; what they wrote is there."""
        self.workload.stop()
        self.check_fresh_areas()
        self.cluster.check_engines()

    def compare_replicas(self) -> int:
        """All replicas hold the same bytes; the volume serves again afterwards. Returns how many bytes."""
        target = self.target
        compared = self.volume.compare_replicas()
        self.volume.publish(target)
        self.paths.wait_for_live(target)
        return compared

    def expect_fenced(self, old: Node) -> None:
        """The nexus that was on the old node writes nothing any more, even when somebody there asks it to."""
        data = self._folder / "fenced"
        data.write_bytes(b"\xfe" * 4096)
        uri = f"nvmf://{old.wire.address}:{old.engine.port}/{self.volume.nqn}"
        result = subprocess.run(old.wire.inside(self.cluster.bin_folder / "initiator", "-o", "8MiB", uri, "write", data),
                                text=True, capture_output=True, timeout=FENCED_WRITE_TIMEOUT_S)
        if result.returncode == 0:
            raise ClusterError(f"the old nexus on node {old.name} took a write: {result.stdout}")
        until(f"the old nexus on node {old.name} shuts down", lambda: self._old_nexus(old)["state"] == SHUTDOWN,
              state=lambda: self._old_nexus(old))
        old.engine.client("nexus", "destroy", self._old_nexus(old)["uuid"])

    @staticmethod
    def _old_nexus(node: Node) -> dict:
        (nexus,) = node.query("nexus", "list")["nexus_list"]
        return nexus

    @staticmethod
    def hold(seconds: float) -> None:
        """How long a fault lasts is part of the test, not a wait for something."""
        time.sleep(seconds)
