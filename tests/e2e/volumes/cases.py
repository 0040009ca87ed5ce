"""The cases: each hurts a trial that is healthy and in use, and leaves it healthy again."""

import dataclasses
import random
from typing import Callable

from cluster import Node, until
from faults import FAULTS, NEXUS, REPLICA, Fault
from trial import Trial

STEP_WRITES = 160  # that must be acknowledged for "it goes on"


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    run: Callable[[Trial], None]
    quick: bool = False
    needs_etcd: bool = False


def hurt_replica(trial: Trial, fault: Fault, node: Node) -> None:
    """A node that only holds a replica: nobody does anything, and the applications go on while it lasts."""
    fault.inject(trial, node)
    if fault.rides_on_replica:
        go_on(trial, fault, node)
    else:
        trial.hold(fault.hold_s)
    fault.heal(trial, node)
    trial.workload.progress(STEP_WRITES)


def go_on(trial: Trial, fault: Fault, node: Node) -> None:
    trial.workload.progress(STEP_WRITES)
    if fault.loses_child:  # a fault that nobody notices proves nothing
        until(f"the nexus has lost its child on node {node.name}",
              lambda: trial.volume.children()[node].state != "online", state=trial.volume.describe)


def hurt_target(trial: Trial, fault: Fault) -> None:
    """The node of the nexus: where it cannot go on, the applications wait until the node is back."""
    node = trial.target
    fault.inject(trial, node)
    if fault.rides_on_target:
        go_on(trial, fault, node)
    else:
        trial.hold(fault.hold_s)
    fault.heal(trial, node)
    if fault.loses_nexus:
        trial.volume.publish(node)
    trial.workload.progress(STEP_WRITES)


def move_from_dead_node(trial: Trial) -> None:
    """The node of the nexus dies and stays dead; another one takes over, the host's second path with it."""
    old, new = trial.target, trial.others[0]
    old.crash()
    move(trial, old, new)
    old.start()


def move_from_frozen_node(trial: Trial) -> None:
    """The old nexus stands still with writes on their way and wakes up when another one has taken over: they must not arrive.

    Reservations are what keeps it from writing; it notices, and shuts itself down."""
    old, new = trial.target, trial.others[0]
    old.reachable = False
    old.engine.freeze()
    move(trial, old, new)
    trial.volume.repair()  # the third replica is reserved, too
    old.engine.thaw()
    trial.expect_fenced(old)
    old.reachable = True


def move_from_cut_off_node(trial: Trial) -> None:
    """The old nexus is alive and reaches its remote children, but neither host nor control plane reach it."""
    old, new = trial.target, trial.others[0]
    old.reachable = False
    trial.cluster.network.separate(old.wire, trial.cluster.host_port)
    move(trial, old, new)
    trial.volume.repair()  # the third replica is reserved, too
    trial.expect_fenced(old)
    trial.cluster.network.rejoin()
    old.reachable = True


def planned_move(trial: Trial) -> None:
    """Nobody is hurt: the nexus is shut down in one place and made in another."""
    old, new, nexus = trial.target, trial.others[0], trial.volume.nexus_uuid
    old.engine.client("nexus", "shutdown", nexus)  # what the host has sent waits
    trial.volume.publish(new)
    trial.paths.add(new)
    old.engine.client("nexus", "destroy", nexus)  # and is now sent to the new one
    trial.workload.progress(STEP_WRITES)
    trial.paths.remove(old)
    trial.workload.progress(STEP_WRITES)


def move(trial: Trial, old: Node, new: Node) -> None:
    trial.volume.publish(new)
    trial.paths.add(new)
    trial.workload.progress(STEP_WRITES)
    trial.paths.remove(old)
    trial.workload.progress(STEP_WRITES)


def random_fault(trial: Trial, generator: random.Random, etcd: bool) -> str:
    """Hurts any node in any way; says what it did."""
    moves = {"move from a dead node": move_from_dead_node, "move from a frozen node": move_from_frozen_node,
             "planned move": planned_move}
    node = generator.choice(trial.cluster.nodes)
    place = NEXUS if node is trial.target else REPLICA
    faults = [fault for fault in FAULTS if place in fault.at and (etcd or not fault.needs_etcd)]
    chosen = generator.choice([*faults, *moves])
    if chosen in moves:
        moves[chosen](trial)
        return chosen
    if place == NEXUS:
        hurt_target(trial, chosen)
        return f"{chosen.name} at the nexus"
    hurt_replica(trial, chosen, node)
    return f"{chosen.name} at a replica"


QUICK = {("kill -9", REPLICA), ("SIGSTOP", REPLICA), ("kill -9", NEXUS), ("disk error", NEXUS)}


def all_cases() -> list[Case]:
    cases = []
    for fault in FAULTS:
        if REPLICA in fault.at:
            cases.append(Case(f"{fault.name} at a replica",
                              lambda trial, fault=fault: hurt_replica(trial, fault, trial.others[-1]),
                              (fault.name, REPLICA) in QUICK, fault.needs_etcd))
        if NEXUS in fault.at:
            cases.append(Case(f"{fault.name} at the nexus", lambda trial, fault=fault: hurt_target(trial, fault),
                              (fault.name, NEXUS) in QUICK, fault.needs_etcd))
    cases.append(Case("move from a dead node", move_from_dead_node, quick=True))
    cases.append(Case("move from a frozen node", move_from_frozen_node))
    cases.append(Case("move from a node that is cut off", move_from_cut_off_node))
    cases.append(Case("planned move", planned_move))
    return cases
