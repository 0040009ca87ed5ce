"""A volume, and as much of a control plane as it needs: places replicas, makes and moves the nexus, repairs children.

What it decides by is what a control plane has: the record in the store, what the engines answer, which nodes are there.
"""

import contextlib
import subprocess
import time
import uuid

from cluster import MIB, Cluster, ClusterError, EngineError, Node
from engine_process import NQN_PREFIX

CHILD_STATES = {0: "unknown", 1: "online", 2: "degraded", 3: "faulted"}
NEXUS_STATES = {0: "unknown", 1: "online", 2: "degraded", 3: "faulted", 4: "shutting_down", 5: "shutdown"}
CONTROLLER_IDS = 16  # of each nexus made for the volume: hosts refuse two paths with equal ids
DATA_OFFSET = 5 * MIB  # where a nexus begins on its children
COMPARED_BYTES = 4 * MIB  # at a time
REPAIR_PAUSE_S = 0.5


class Child:
    def __init__(self, row: dict):
        self.uri: str = row["uri"]
        self.state = CHILD_STATES[row["state"]]
        self.reason: int = row["state_reason"]
        self.progress: int = row["rebuild_progress"]
        self.has_log: bool = row["has_io_log"]


class Volume:
    """One replica a node, all of the same size, thin unless told otherwise."""

    def __init__(self, cluster: Cluster, nodes: list[Node], size_mib: int, *, thin: bool = True):
        self._cluster = cluster
        self.nodes = nodes
        self.size_mib = size_mib
        self.uuid = str(uuid.uuid4())
        self.nqn = NQN_PREFIX + self.uuid
        self.replicas = {node: str(uuid.uuid4()) for node in nodes}
        self.target: Node | None = None  # where the nexus is
        self.nexus_uuid = ""  # each nexus has its own, and with it a record of its own: a predecessor may still be alive
        self._made = 0  # nexuses so far
        for node, replica in self.replicas.items():
            # Larger than the volume: a nexus keeps the first 5 MiB and the last few KiB of a child for itself.
            node.engine.client("replica", "create", replica, replica, node.pool, "--size", f"{size_mib + 8}MiB",
                               *(["--thin"] if thin else []))

    # --- what is

    def _find_nexus(self) -> dict | None:
        listed = self.target.query("nexus", "list")["nexus_list"]
        return next((each for each in listed if each["uuid"] == self.nexus_uuid), None)

    def nexus(self) -> dict:
        nexus = self._find_nexus()
        if nexus is None:
            raise ClusterError(f"node {self.target.name} has no nexus {self.nexus_uuid}")
        return nexus

    def state(self) -> str:
        return NEXUS_STATES[self.nexus()["state"]]

    def children(self) -> dict[Node, Child]:
        """A node whose replica is no child at present has none."""
        rows = [Child(row) for row in self.nexus()["children"]]
        return {node: child for node, replica in self.replicas.items() for child in rows if replica in child.uri}

    def healthy(self) -> bool:
        return self.state() == "online" and all(child.state == "online" for child in self.children().values()) and len(
            self.children()) == len(self.nodes)

    def _healthy_now(self) -> bool:
        with contextlib.suppress(EngineError, ClusterError):
            return self.healthy()
        return False

    def describe(self) -> str:
        with contextlib.suppress(EngineError, ClusterError, subprocess.TimeoutExpired):
            children = ", ".join(f"{node.name} {child.state} (reason {child.reason}, rebuild {child.progress} %)"
                                 for node, child in self.children().items())
            return f"nexus on {self.target.name} {self.state()}: {children}"
        return f"nexus on {self.target.name}: no answer"

    # --- making and moving the nexus

    def publish(self, target: Node) -> None:
        """Makes the nexus on a node, of the replicas that have all acknowledged data; the others are added by repair()."""
        first = self._trustworthy(target)
        key = self._made + 1
        parameters = ["--min-cntlid", str(self._made * CONTROLLER_IDS + 1),
                      "--max-cntlid", str((self._made + 1) * CONTROLLER_IDS), "--resv-key", str(key),
                      "--resv-type", "WriteExclusive", "--preempt-policy", "Holder"]
        nexus_uuid = str(uuid.uuid4())
        target.engine.client("nexus", "create", nexus_uuid, f"{self.size_mib}MiB",
                             *[self._child_uri(node, target) for node in first], "--name", self.uuid, *parameters)
        self.target, self.nexus_uuid, self._made = target, nexus_uuid, key
        target.engine.client("nexus", "publish", nexus_uuid)

    def destroy(self) -> None:
        self.target.engine.client("nexus", "destroy", self.nexus_uuid)

    def _trustworthy(self, target: Node) -> list[Node]:
        """Replicas for a new nexus, the target's own first. After an unclean end, writes under way may have reached some and not
        others: by its write-intent log the new nexus makes them equal."""
        record = self._cluster.store.record(self.nexus_uuid) if self.nexus_uuid else None
        reachable = sorted((node for node in self.nodes if node.reachable), key=lambda node: node is not target)
        if record is None:
            return reachable
        healthy = {child["uuid"] for child in record["children"] if child["healthy"]}
        found = [node for node in reachable if self.replicas[node] in healthy]
        if not found:
            raise ClusterError(f"no replica with all data is reachable: {record}")
        return found

    def _child_uri(self, node: Node, target: Node) -> str:
        """A nexus uses the replica of its own node directly, others over the network; where that is not so yet, it is made so."""
        replica = self.replicas[node]
        if node is target:
            node.engine.client("replica", "unshare", replica)
            return f"bdev:///{replica}?uuid={replica}"
        return node.engine.client("replica", "share", replica, "nvmf").strip()

    # --- repair

    def repair(self) -> None:
        """One look at the nexus and its children: what is out of step and whose node is there is brought back."""
        if not self.target.reachable:
            return
        nexus = self._find_nexus()
        if nexus is None or NEXUS_STATES[nexus["state"]] in ("faulted", "shutdown"):
            if nexus is not None:
                self.destroy()
            self.publish(self.target)
        children = self.children()
        for node in self.nodes:
            if not node.reachable:
                continue
            child = children.get(node)
            if child is None:
                self.target.engine.client("nexus", "add", self.nexus_uuid, self._child_uri(node, self.target))
            elif child.state != "online" and child.progress < 0:  # and is not being rebuilt
                self._child_uri(node, self.target)
                if self.target.engine.client_result("nexus", "child", "online", self.nexus_uuid, child.uri).returncode != 0:
                    self.target.engine.client_result("nexus", "remove", self.nexus_uuid, child.uri)

    def repair_until_healthy(self, timeout_s: float = 120) -> float:
        """Seconds it took."""
        started = time.monotonic()
        deadline = started + timeout_s
        while not self._healthy_now():
            if time.monotonic() > deadline:
                raise ClusterError(f"the volume is not healthy within {timeout_s} s: {self.describe()}")
            with contextlib.suppress(EngineError):  # what is refused now is tried again
                self.repair()
            time.sleep(REPAIR_PAUSE_S)
        return time.monotonic() - started

    def rebuilt_blocks(self) -> tuple[int, int]:
        """Blocks transferred by all rebuilds of this nexus so far, and how many rebuilds were partial."""
        records = self.target.query("rebuild", "history", self.nexus_uuid)["records"]
        return sum(int(each["blocks_transferred"]) for each in records), sum(each["is_partial"] for each in records)

    # --- proof

    def compare_replicas(self) -> int:
        """With the nexus ended in order and nobody writing: all replicas hold the same bytes. Returns how many bytes."""
        self.destroy()
        length = self.size_mib * MIB
        contents = {node: self._content(node, length) for node in self.nodes}
        first = self.nodes[0]
        for node in self.nodes[1:]:
            for start in range(0, length, COMPARED_BYTES):
                if contents[node][start:start + COMPARED_BYTES] != contents[first][start:start + COMPARED_BYTES]:
                    offset = next(i for i in range(start, length) if contents[node][i] != contents[first][i])
                    raise ClusterError(f"the replicas of nodes {first.name} and {node.name} differ at byte {offset} of the volume")
        return length

    def _content(self, node: Node, length: int) -> bytes:
        uri = node.engine.client("replica", "share", self.replicas[node], "nvmf").strip()
        path = node.disk.parent / "content"
        subprocess.run(node.wire.inside(self._cluster.bin_folder / "initiator", "-o", DATA_OFFSET, uri, "read", path, "-l", length),
                       check=True, capture_output=True, text=True)
        content = path.read_bytes()
        path.unlink()
        return content
