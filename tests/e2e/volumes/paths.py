"""The Linux host's paths to a volume: one NVMe controller for each node that exports it, one block device above them."""

from cluster import ClusterError, Node
from nvme_host import NvmeHost

CONNECT_TIMEOUT_S = 60


class Paths:
    def __init__(self, host: NvmeHost, nqn: str):
        self._host = host
        self._nqn = nqn
        self.device = ""

    def open(self, node: Node) -> str:
        """The first path; returns the block device."""
        self.device = self._host.connect(self._nqn, node.engine.port, address=node.wire.address, queues=2).device
        return self.device

    def add(self, node: Node) -> None:
        """One more path. Linux tries until the subsystem is there, which may be after the command has first been refused."""
        self._host.guest.check(
            f"timeout {CONNECT_TIMEOUT_S} sh -c \"until nvme connect -t tcp -a {node.wire.address} -s {node.engine.port} "
            f"-n {self._nqn} --nr-io-queues=2 --reconnect-delay=1 --ctrl-loss-tmo=600; do sleep 0.2; done\"",
            CONNECT_TIMEOUT_S + 10)

    def remove(self, node: Node) -> None:
        for controller, address, _ in self.list():
            if address == node.wire.address:
                self._host.guest.check(f"nvme disconnect -d {controller}")

    def list(self) -> list[tuple[str, str, str]]:
        """Controller, address, state of each."""
        rows = self._host.guest.check(
            f"cd /sys/class/nvme && for n in $(grep -lxF '{self._nqn}' nvme*/subsysnqn); do d=${{n%%/*}}; "
            "echo $d $(sed 's/.*traddr=\\([^,]*\\).*/\\1/' $d/address) $(cat $d/state); done").splitlines()
        return [tuple(row.split()) for row in rows]

    def wait_for_live(self, node: Node) -> None:
        for controller, address, _ in self.list():
            if address == node.wire.address:
                self._host.guest.wait_until(f"grep -qx live /sys/class/nvme/{controller}/state", CONNECT_TIMEOUT_S)
                return
        raise ClusterError(f"Linux has no path to node {node.name}: {self.list()}")
