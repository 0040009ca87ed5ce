"""Nodes on a network of our own: a namespace for each, wired to a bridge in one more. Links can be cut and mended.

    with Network() as network:
        node = network.add_node("a", 101)     # 10.0.2.101
        subprocess.run(node.inside("ip", "addr"))
        node.cut()

Needs root, nftables, and the kernel's namespaces, veth and bridge; `why_not()` tells what is missing. Nothing reaches the machine's
own network. Namespaces go with the context; what a killed run left behind is removed by the next one.
"""

import os
import pathlib
import re
import subprocess

SUBNET = "10.0.2"  # that of the guests of tests/vm, whose addresses are 10.0.2.15 and up
PREFIX = "cairn"
LINK_FAULTS = {  # a set of ports for each; what is dropped between ports of the bridge
    "deaf": ["oifname @deaf drop"],
    "silent": ["iifname @silent drop"],
    "lossy": ["iifname @lossy numgen random mod 20 == 0 drop", "oifname @lossy numgen random mod 20 == 0 drop"],
}
NAMESPACES = pathlib.Path("/run/netns")


class NetworkError(Exception):
    pass


def _run(*command: str) -> str:
    result = subprocess.run(command, text=True, capture_output=True)
    if result.returncode != 0:
        raise NetworkError(f"{' '.join(command)}: {(result.stderr or result.stdout).strip()}")
    return result.stdout


def why_not() -> str | None:
    """Why networks cannot be made here; None when they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    try:
        with Network() as network:
            network.add_node("probe", 200)
    except (NetworkError, FileNotFoundError) as error:
        return str(error)
    return None


class NetworkNode:
    """A namespace with the interface eth0 on the bridge. Programs start in it by the command that inside() makes."""

    def __init__(self, network: "Network", name: str, number: int):
        self.name = name
        self.address = f"{SUBNET}.{number}"
        self.namespace = f"{network.prefix}-{name}"
        self.port = f"port{number}"  # the bridge's end of the wire
        self._network = network

    def inside(self, *command) -> list[str]:
        return ["ip", "netns", "exec", self.namespace, *map(str, command)]

    def cut(self) -> None:
        """Nothing passes any more in either direction, silently: nobody sees his link go down."""
        self.deafen()
        self.silence()

    def deafen(self) -> None:
        """Nothing reaches the node any more; what it sends still arrives."""
        self._network.add_to_set("deaf", self.port)

    def silence(self) -> None:
        """Nothing that the node sends arrives any more."""
        self._network.add_to_set("silent", self.port)

    def lose_packets(self) -> None:
        """One packet of twenty to the node and from it is lost."""
        self._network.add_to_set("lossy", self.port)

    def limit(self, gigabits: float) -> None:
        """What the node sends goes at this rate, in bits a second, at most."""
        _run("tc", "-n", self.namespace, "qdisc", "replace", "dev", "eth0", "root", "tbf", "rate", f"{gigabits}gbit", "burst",
             "2mb", "latency", "50ms")

    def unplug(self) -> None:
        """As cut(), but both ends see that the link is down."""
        self._network.on_bridge("ip", "link", "set", self.port, "down")

    def mend(self) -> None:
        self._network.on_bridge("ip", "link", "set", self.port, "up")
        for name in LINK_FAULTS:
            self._network.remove_from_set(name, self.port)


class Network:
    def __init__(self):
        self.prefix = f"{PREFIX}-{os.getpid()}"
        self._hub = f"{self.prefix}-hub"
        self._namespaces: list[str] = []

    def __enter__(self) -> "Network":
        _remove_leftovers()
        try:
            self._add_namespace(self._hub)
            self.on_bridge("ip", "link", "add", "bridge", "type", "bridge", "forward_delay", "0", "stp_state", "0")
            # Snooping would hold back multicast, of which neighbour discovery is made.
            self.on_bridge("ip", "link", "set", "bridge", "type", "bridge", "mcast_snooping", "0")
            self.on_bridge("ip", "link", "set", "bridge", "up")
            self._make_sets()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        """Processes that run in the namespaces have to be ended before."""
        for namespace in reversed(self._namespaces):
            subprocess.run(["ip", "netns", "del", namespace], check=False, capture_output=True)
        self._namespaces.clear()

    def add_node(self, name: str, number: int) -> NetworkNode:
        """number: the last part of the address, and tells the wires apart."""
        node = NetworkNode(self, name, number)
        self._add_namespace(node.namespace)
        _run("ip", "-n", self._hub, "link", "add", f"port{number}", "type", "veth", "peer", "name", "eth0", "netns",
             node.namespace)
        self.on_bridge("ip", "link", "set", f"port{number}", "master", "bridge", "up")
        _run("ip", "-n", node.namespace, "link", "set", "eth0", "up")
        _run("ip", "-n", node.namespace, "addr", "add", f"{node.address}/24", "dev", "eth0")
        return node

    def add_tap(self, name: str) -> None:
        """A tap interface on the bridge, for a virtual machine started by on_bridge_command()."""
        self.on_bridge("ip", "tuntap", "add", "dev", name, "mode", "tap")
        self.on_bridge("ip", "link", "set", name, "master", "bridge", "up")

    def _make_sets(self) -> None:
        self.on_bridge("nft", "add", "table", "bridge", "faults")
        self.on_bridge("nft", "add", "chain", "bridge", "faults", "forward",
                       "{ type filter hook forward priority 0; policy accept; }")
        self.on_bridge("nft", "add", "chain", "bridge", "faults", "pairs")
        self.on_bridge("nft", "add", "rule", "bridge", "faults", "forward", "jump", "pairs")
        for name, rules in LINK_FAULTS.items():
            self.on_bridge("nft", "add", "set", "bridge", "faults", name, "{ type ifname; }")
            for rule in rules:
                self.on_bridge("nft", "add", "rule", "bridge", "faults", "forward", rule)

    def add_to_set(self, name: str, port: str) -> None:
        self.on_bridge("nft", "add", "element", "bridge", "faults", name, f"{{ {port} }}")

    def remove_from_set(self, name: str, port: str) -> None:
        if re.search(rf"\b{port}\b", self.on_bridge("nft", "list", "set", "bridge", "faults", name)):
            self.on_bridge("nft", "delete", "element", "bridge", "faults", name, f"{{ {port} }}")

    def separate(self, node: NetworkNode, port: str) -> None:
        """Nothing passes between a node and what is plugged into another port; both reach all others."""
        for first, second in ((node.port, port), (port, node.port)):
            self.on_bridge("nft", "add", "rule", "bridge", "faults", "pairs", "iifname", first, "oifname", second, "drop")

    def rejoin(self) -> None:
        """Undoes separate()."""
        self.on_bridge("nft", "flush", "chain", "bridge", "faults", "pairs")

    def on_bridge_command(self, *command) -> list[str]:
        return ["ip", "netns", "exec", self._hub, *map(str, command)]

    def on_bridge(self, *command: str) -> str:
        return _run(*self.on_bridge_command(*command))

    def _add_namespace(self, name: str) -> None:
        _run("ip", "netns", "add", name)
        self._namespaces.append(name)
        _run("ip", "-n", name, "link", "set", "lo", "up")


def _remove_leftovers() -> None:
    """Namespaces of runs whose process is gone."""
    for path in NAMESPACES.glob(f"{PREFIX}-*") if NAMESPACES.exists() else []:
        owner = re.match(rf"{PREFIX}-(\d+)-", path.name)
        if owner and not pathlib.Path(f"/proc/{owner[1]}").exists():
            subprocess.run(["ip", "netns", "del", path.name], check=False, capture_output=True)
