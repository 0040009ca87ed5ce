#!/usr/bin/env python3
"""Rebuilds of a nexus: how fast a whole copy is made beside the slower of device and link, how much of a thin copy is
copied, and what hosts keep of their rate meanwhile.

The nexus lives in the load generator (nexus_load) on the load's core, remote children in an engine on the other one. On
the loopback the link is what the cores can copy; so there is one with a rate of its own, in network namespaces.
"""

import contextlib
import json
import pathlib
import uuid

import bench_engine
import benchmark
import network
import file_iops
import nexus_iops
import sides

SIZE_MIB = 768
CHILD_MIB = SIZE_MIB + 8
POOL_MIB = 832
WRITTEN_MIB = 40  # of a thin volume
FIRST_MIB = 5     # where the data of a nexus begins on a child
# What a rebuild does while no host is about.
COPY = sides.Load("256 KiB write, depth 16", False, 0, 256 << 10, 16)
LINK_GIGABITS = 10
HOST_LOADS = [load for load in sides.SMALL if load.depth == 32]
SPEED_GOAL, HOST_GOAL = 0.9, 0.7
MIB = 1 << 20


class Children:
    """Remote memory devices on one engine, and what lies elsewhere."""

    def __init__(self, options, folder: pathlib.Path):
        self._target = sides.EngineTarget(options.bin, folder / "engine", self._device(0))

    @staticmethod
    def _device(number: int) -> str:
        return f"malloc:///far{number}?size_mb={CHILD_MIB}&uuid={nexus_iops.child_uuid(100 + number)}"

    def __enter__(self) -> "Children":
        self._target.__enter__()
        self.engine = self._target.engine
        nqns = [self._target.nqn, *(self.engine.create_and_share(self._device(i)) for i in (1, 2))]
        self.remote = [f"nvmf://127.0.0.1:{self.engine.port}/{nqn}?uuid={nexus_iops.child_uuid(100 + i)}"
                       for i, nqn in enumerate(nqns)]
        return self

    def __exit__(self, *error) -> None:
        self._target.__exit__(*error)

    def thin_replica(self, number: int) -> str:
        self.engine.client("pool", "create", f"pool{number}", f"malloc:///disk{number}?size_mb={POOL_MIB}")
        return self.engine.client("replica", "create", f"thin{number}", str(uuid.uuid4()), f"pool{number}", "--size",
                                  f"{CHILD_MIB}MiB", "-p", "nvmf", "--thin").strip()


@contextlib.contextmanager
def linked(options, folder: pathlib.Path):
    """A command that starts a program on a node of its own, and the URI of a memory device on another node."""
    with network.Network() as nodes:
        near, far = nodes.add_node("near", 101), nodes.add_node("far", 102)
        for node in (near, far):
            node.limit(LINK_GIGABITS)
        folder.mkdir()
        binaries = options.bin.resolve()
        with bench_engine.Engine(binaries / "io-engine", binaries / "io-engine-client", folder,
                                 ("-l", str(sides.TARGET_CORE), "-T", f"ip:{far.address}"), prefix=tuple(far.inside()),
                                 target_ip=far.address) as engine:
            nqn = engine.create_and_share(f"malloc:///far?size_mb={CHILD_MIB}&uuid={nexus_iops.child_uuid(110)}")
            yield near.inside(), f"nvmf://{far.address}:{engine.port}/{nqn}?uuid={nexus_iops.child_uuid(110)}"


def median(values: list[float]) -> float:
    return bench_engine.median_and_spread(values)[0]


def run(options) -> dict:
    command = [options.bin.resolve() / "nexus_load", "-l", sides.LOAD_CORE, "--size-mib", SIZE_MIB]
    program = sides.Program(command)
    casperf = sides.Program([options.bin.resolve() / "casperf", "-l", sides.LOAD_CORE, "-o", "json"])
    memory = "--fill", f"malloc:///near?size_mb={CHILD_MIB}&uuid={nexus_iops.child_uuid(200)}"

    def rebuild(*arguments: str | int, by: sides.Program = program) -> dict:
        return json.loads(by.run("--rebuild", *arguments))

    def load(each: sides.Load, *arguments: str) -> float:
        return json.loads(program.run("-d", options.seconds * 1000, "-q", each.depth, "-b", each.size, "-t", each.type,
                                      *arguments))["iops"]

    def once(by: sides.Program, kind: str, *uri: str) -> float:
        """Bytes a second, the flush at the end included, as a rebuild's are."""
        report = json.loads(by.run("--raw", "--once", "-q", COPY.depth, "-b", COPY.size, "-t", kind, *uri))
        return CHILD_MIB * MIB / report["seconds"]

    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(bench_engine.folder()))
        disk = pathlib.Path(stack.enter_context(bench_engine.folder(options.folder))) / "copy.img"
        file_iops.fill(disk, CHILD_MIB * MIB)
        children = stack.enter_context(Children(options, folder))
        file = f"uring://{disk}?blk_size=512&uuid={nexus_iops.child_uuid(201)}",
        # Reading memory takes the same core as sending does; reading a disk does not.
        ways = {"file to memory, loopback": (program, file, children.remote[0]),
                "memory to memory, loopback": (program, memory, children.remote[0]),
                "memory to a file": (program, memory, *file)}
        if (reason := network.why_not()) is None:
            inside, far = stack.enter_context(linked(options, folder / "linked"))
            linked_program = sides.Program([*inside, *command])
            ways[f"memory to memory, {LINK_GIGABITS} Gbit/s"] = (linked_program, memory, far)
            ways[f"file to memory, {LINK_GIGABITS} Gbit/s"] = (linked_program, file, far)
        else:
            print(f"no link with a rate of its own: {reason}")
        speed = {}
        for name, (by, source, destination) in ways.items():
            once(by, "write", destination)  # memory that was never written is slower the first time
            seen = []
            for _ in range(options.rounds):
                copied = rebuild("-q", 0, *source, destination, by=by)
                seen.append((copied["copied_bytes"] / copied["seconds"], once(by, "read", *source),
                             once(by, "write", destination)))
            speed[name] = seen
        hosts = {}
        for each in sides.chosen(HOST_LOADS, options.jobs):
            pairs = []
            for _ in range(options.rounds):
                normal = load(each, *children.remote)
                meanwhile = rebuild("-d", 300, "-q", each.depth, "-b", each.size, "-t", each.type, *children.remote)
                pairs.append((meanwhile["iops_meanwhile"], normal, meanwhile["copied_bytes"] / meanwhile["seconds"]))
            hosts[each.name] = pairs
        thin = [children.thin_replica(i) for i in (0, 1)]
        casperf.run("-t", "write", "-b", COPY.size, "-q", COPY.depth, "-n", WRITTEN_MIB * MIB // COPY.size, "--offset",
                    f"{FIRST_MIB}MiB", "--size", f"{WRITTEN_MIB}MiB", thin[0])
        copied = rebuild("-q", 0, *thin)
    return {"speed": speed, "hosts": hosts, "thin": copied}


def show(result: dict) -> str:
    def verdict(ratio: float, goal: float) -> list[str]:
        return [f"{ratio:.2f}", sides.at_least(goal), "met" if ratio >= goal else "MISSED"]

    speed = [[name, *(f"{median([each[i] for each in seen]) / 1e6:.0f}" for i in range(3)),
              *verdict(median([copied / min(read, written) for copied, read, written in seen]), SPEED_GOAL)]
             for name, seen in result["speed"].items()]
    hosts = [[name, f"{median([each[0] for each in pairs]) / 1e3:.1f} K", f"{median([each[1] for each in pairs]) / 1e3:.1f} K",
              f"{median([each[2] for each in pairs]) / 1e6:.0f}",
              *verdict(median([meanwhile / normal for meanwhile, normal, _ in pairs]), HOST_GOAL)]
             for name, pairs in result["hosts"].items()]
    thin = result["thin"]
    return "\n\n".join([
        bench_engine.table(["full rebuild", "MB/s", "source read", "copy written", "ratio", "goal", ""], speed),
        bench_engine.table(["hosts, three remote copies", "meanwhile", "else", "rebuild MB/s", "ratio", "goal", ""], hosts),
        f"thin: {thin['copied_bytes'] / MIB:.1f} MiB copied of {thin['total_bytes'] / MIB:.0f} MiB, {WRITTEN_MIB} MiB written, "
        f"{thin['seconds']:.2f} s"])


if __name__ == "__main__":
    benchmark.main(__doc__, run, show, sides.add_options, file_iops.add_options)
