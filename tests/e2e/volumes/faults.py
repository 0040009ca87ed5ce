"""What can go wrong at a node, how it is done and how it is undone."""

import dataclasses
from typing import Callable

from cluster import Node
from trial import Trial


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
    Fault("disk full", _fill_disk, _empty_disk, rides_on_target=True),
    Fault("etcd stopped", _stop_store_and_break_disk, _start_store_and_mend_disk, rides_on_replica=False, needs_etcd=True),
    Fault("etcd slow", _slow_store_and_break_disk, _fast_store_and_mend_disk, rides_on_target=True, needs_etcd=True),
]
