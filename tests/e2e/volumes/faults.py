"""What can go wrong at a node, how it is done and how it is undone."""

import dataclasses
from typing import Callable

from cluster import Node
from trial import Trial


REPLICA, NEXUS = "replica", "nexus"  # whose node it hits


@dataclasses.dataclass(frozen=True)
class Fault:
    name: str
    inject: Callable[[Trial, Node], None]
    heal: Callable[[Trial, Node], None]
    # Whether the volume goes on while it lasts, when it hits a replica; and when it hits the node of the nexus.
    rides_on_replica: bool = True
    rides_on_target: bool = False
    hold_s: float = 6  # how long it lasts where the volume cannot go on; longer than the host's keep-alive time-out
    needs_etcd: bool = False
    loses_nexus: bool = False  # at the node of the nexus
    loses_child: bool = True  # the replica of the node, where the volume goes on
    at: tuple[str, ...] = (REPLICA, NEXUS)


def _kill(_: Trial, node: Node) -> None:
    node.crash()


def _start(_: Trial, node: Node) -> None:
    node.start()


def _freeze(_: Trial, node: Node) -> None:
    node.reachable = False
    node.engine.freeze()


def _thaw(_: Trial, node: Node) -> None:
    node.engine.thaw()
    node.reachable = True


def _link(break_it: Callable[[Node], None]) -> Callable[[Trial, Node], None]:
    def inject(_: Trial, node: Node) -> None:
        node.reachable = False
        break_it(node)
    return inject


def _mend(_: Trial, node: Node) -> None:
    node.wire.mend()
    node.reachable = True


def _break_disk(_: Trial, node: Node) -> None:
    node.reachable = False  # as a place for a replica
    node.set_bad_disk(True)


def _mend_disk(_: Trial, node: Node) -> None:
    node.set_bad_disk(False)
    node.reachable = True


def _fill_disk(trial: Trial, node: Node) -> None:
    node.reachable = False
    node.fill_pool()
    trial.write_fresh_area()


def _empty_disk(_: Trial, node: Node) -> None:
    node.empty_pool()
    node.reachable = True


def _injected(trial: Trial, node: Node, what: str) -> str:
    """A fault that the engine makes itself, in the device that is the replica."""
    return f"inject://{trial.volume.replicas[node]}?{what}"


def _inject(what: str) -> Callable[[Trial, Node], None]:
    def inject(trial: Trial, node: Node) -> None:
        node.reachable = False
        node.engine.client("test", "inject", "--add", _injected(trial, node, what))
    return inject


def _withdraw(what: str) -> Callable[[Trial, Node], None]:
    def withdraw(trial: Trial, node: Node) -> None:
        node.engine.client("test", "inject", "--remove", _injected(trial, node, what))
        node.reachable = True
    return withdraw


# Of the replicas, only that of the nexus's own node is read while it is healthy.
READ_ERROR = "op=read&stage=completion&method=status"
BAD_SECTORS = "op=read&stage=completion&method=status-nvme-2-81"  # Unrecovered Read Error
SLOW_WRITES = "op=write&stage=completion&method=delay-15000"  # longer than a nexus waits for a child


def _stop_store_and_break_disk(trial: Trial, node: Node) -> None:
    """A store that nobody needs is not missed, so it stops just before a child has to be recorded as lost."""
    trial.cluster.store.stop()
    _break_disk(trial, node)


def _start_store_and_mend_disk(trial: Trial, node: Node) -> None:
    trial.cluster.store.start()
    trial.workload.progress()  # before the child is back
    _mend_disk(trial, node)


def _slow_store_and_break_disk(trial: Trial, node: Node) -> None:
    trial.cluster.store.be_slow()
    _break_disk(trial, node)


def _fast_store_and_mend_disk(trial: Trial, node: Node) -> None:
    _mend_disk(trial, node)
    trial.cluster.store.be_fast()


FAULTS = [
    Fault("kill -9", _kill, _start, loses_nexus=True, hold_s=0),
    Fault("SIGSTOP", _freeze, _thaw),
    Fault("link cut", _link(lambda node: node.wire.cut()), _mend),
    Fault("link down", _link(lambda node: node.wire.unplug()), _mend),
    Fault("link deaf", _link(lambda node: node.wire.deafen()), _mend),
    Fault("link silent", _link(lambda node: node.wire.silence()), _mend),
    Fault("link lossy", lambda _, node: node.wire.lose_packets(), lambda _, node: node.wire.mend(), rides_on_target=True,
          loses_child=False),
    Fault("disk error", _break_disk, _mend_disk, rides_on_target=True),
    Fault("read error", _inject(READ_ERROR), _withdraw(READ_ERROR), rides_on_target=True, at=(NEXUS,)),
    Fault("bad sectors", _inject(BAD_SECTORS), _withdraw(BAD_SECTORS), rides_on_target=True, loses_child=False, at=(NEXUS,)),
    Fault("slow disk", _inject(SLOW_WRITES), _withdraw(SLOW_WRITES), at=(REPLICA,)),
    Fault("disk full", _fill_disk, _empty_disk, rides_on_target=True),
    Fault("etcd stopped", _stop_store_and_break_disk, _start_store_and_mend_disk, rides_on_replica=False, needs_etcd=True),
    Fault("etcd slow", _slow_store_and_break_disk, _fast_store_and_mend_disk, rides_on_target=True, needs_etcd=True),
]
