#!/usr/bin/env python3
"""What a nexus costs: one copy beside the raw file, one local replica beside it over the network, three remote copies
beside a peer's mirror, each child's latency, the write-intent log in use, and what the first write to a region costs.

The nexus lives in the load generator (nexus_load), on the load's core; but for the local replica, whose nexus an engine
exports, as it does the raw file, and for first writes. The three targets of the mirrors are subsystems of
one engine of ours on the other core, the same for both sides. For their ratios the environment names
CAIRN_BENCH_BDEVPERF (sides.py), whose mirror is made by bdev_raid_create.
"""

import contextlib
import json
import os
import pathlib
import uuid

import bench_engine
import benchmark
import file_iops
import sides

SIZE_MIB = 64
CHILD_MIB = SIZE_MIB + 8  # a nexus leaves 5 MiB free before the data
FILE_LOADS = file_iops.LOADS
FILE_GOALS = {load.name: 0.95 for load in FILE_LOADS if load.depth == 32}
MIRROR_LOADS = [load for load in sides.SMALL if "70/30" not in load.name]
MIRROR_GOALS = {load.name: 1.0 for load in MIRROR_LOADS}
LATENCY_LOADS = [load for load in MIRROR_LOADS if load.depth == 1]
FIRST_MIB = 16384
FIRST_LOADS = [sides.Load(f"first writes to regions, depth {depth}", True, 0, 4096, depth) for depth in (1, 32)]
LOG_LOADS = [load for load in MIRROR_LOADS if load.read_percent == 0 and load.depth <= 32]


def nexus_load(binaries: pathlib.Path):
    program = sides.Program([binaries.resolve() / "nexus_load", "-l", sides.LOAD_CORE, "--size-mib", SIZE_MIB])

    def measure(load: sides.Load, uris: list[str], seconds: float, *options: str) -> sides.Seen:
        report = json.loads(program.run("-d", int(seconds * 1000), "-q", load.depth, "-b", load.size, "-t", load.type,
                                        *options, *uris))
        return sides.Seen(report["iops"], report["mean_us"])

    return measure


def child_uuid(number: int) -> str:
    return str(uuid.UUID(int=number + 1, version=4))


def memory(number: int) -> str:
    return f"malloc:///child{number}?size_mb={CHILD_MIB}&uuid={child_uuid(number)}"


def peer_mirror(folder: pathlib.Path):
    """A program that takes bdevperf's options, over a mirror of remote namespaces."""
    if not (path := os.environ.get("CAIRN_BENCH_BDEVPERF")):
        return None
    program = sides.Program([path, *sides.bdevperf_options(), "-m", hex(1 << sides.LOAD_CORE), "-r",
                             folder / "bdevperf.sock", "-T", "Mirror"])

    def measure(load: sides.Load, addresses: list[dict], seconds: float) -> sides.Seen:
        attach = [{"method": "bdev_nvme_attach_controller", "params": {"name": f"Remote{i}", **address}}
                  for i, address in enumerate(addresses)]
        mirror = {"method": "bdev_raid_create", "params": {
            "name": "Mirror", "raid_level": "raid1", "base_bdevs": [f"Remote{i}n1" for i in range(len(addresses))]}}
        config = folder / "bdevperf.json"
        config.write_text(json.dumps({"subsystems": [
            {"subsystem": "bdev", "config": [*attach, mirror, {"method": "bdev_wait_for_examine"}]}]}))
        return sides.bdevperf_total(program.run("-c", config, "-t", f"{seconds:.0f}", *load.peer_options()))

    return measure


def one_copy(options, measure) -> dict | None:
    """On files: what a disk adds is the same for both."""
    loads = sides.chosen(FILE_LOADS, options.jobs)
    if not loads:
        return None
    with bench_engine.folder(options.folder) as folder:
        path = pathlib.Path(folder) / "disk.img"
        file_iops.fill(path, CHILD_MIB << 20)
        uri = f"uring://{path}?blk_size=4096"
        contenders = {name: sides.Contender(None, lambda load, flags=flags: measure(load, [uri], options.seconds, *flags))
                      for name, flags in (("nexus", []), ("file", ["--raw"]))}
        return sides.Comparison("nexus of one file", contenders, options.rounds, FILE_GOALS).run(loads)


def local_replica(options, _measure) -> dict | None:
    """As a volume of one replica is used on its own node: pool, replica, nexus and export in one engine."""
    loads = sides.chosen(FILE_LOADS, options.jobs)
    if not loads:
        return None
    casperf = sides.casperf(options.bin)
    with bench_engine.folder(options.folder) as name:
        folder = pathlib.Path(name)
        disks = {"raw": folder / "raw.img", "pool": folder / "pool.img"}
        file_iops.fill(disks["raw"], CHILD_MIB << 20)
        file_iops.fill(disks["pool"], 2 * CHILD_MIB << 20)
        with disks["pool"].open("r+b") as file:
            file.write(bytes(1 << 20))  # a pool is made on nothing that looks like something
        with sides.EngineTarget(options.bin, folder / "engine", f"aio://{disks['raw']}") as target:
            client = target.engine.client
            client("pool", "create", "bench", f"aio://{disks['pool']}")
            client("replica", "create", "copy", child_uuid(0), "bench", "--size", f"{CHILD_MIB}MiB")
            nexus = child_uuid(1)
            client("nexus", "create", nexus, f"{SIZE_MIB}MiB", f"bdev:///copy?uuid={child_uuid(0)}", "--name", "volume")
            uri = client("nexus", "publish", nexus).removeprefix("Nexus published over: ").strip()
            uris = {"nexus": uri, "file": target.uri}
            contenders = {name: sides.Contender(None, lambda load, uri=uri: casperf(load, uri, options.seconds))
                          for name, uri in uris.items()}
            comparison = sides.Comparison("nexus of one local replica, exported", contenders, options.rounds, FILE_GOALS)
            return comparison.run(loads, prepare=sides.FILL)


def three_remote(options, measure) -> dict | None:
    loads = sides.chosen(MIRROR_LOADS, options.jobs)
    if not loads:
        return None
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(bench_engine.folder()))
        targets = stack.enter_context(sides.EngineTarget(options.bin, folder / "engine", memory(0)))
        nqns = [targets.nqn, *(targets.engine.create_and_share(memory(i)) for i in (1, 2))]
        uris = [f"nvmf://127.0.0.1:{targets.engine.port}/{nqn}?uuid={child_uuid(i)}" for i, nqn in enumerate(nqns)]
        contenders = {"nexus": sides.Contender(None, lambda load: measure(load, uris, options.seconds))}
        if peer := peer_mirror(folder):
            addresses = [{"trtype": "TCP", "adrfam": "IPv4", "traddr": "127.0.0.1", "trsvcid": str(targets.engine.port),
                          "subnqn": nqn} for nqn in nqns]
            contenders["peer"] = sides.Contender(None, lambda load: peer(load, addresses, options.seconds))
        comparison = sides.Comparison("three remote copies", contenders, options.rounds, MIRROR_GOALS)
        return comparison.run(loads, prepare=sides.FILL)


def latency(options, measure) -> dict | None:
    """Memory, depth 1: microseconds that the nexus adds to the device, in the median of pairs."""
    loads = sides.chosen(LATENCY_LOADS, options.jobs)
    if not loads:
        return None
    added = {load.name: {} for load in loads}
    for load in loads:
        for children in (1, 2, 3):
            uris = [memory(i) for i in range(children)]
            pairs = [(measure(load, uris, options.seconds, "--fill").mean_us,
                      measure(load, uris[:1], options.seconds, "--fill", "--raw").mean_us) for _ in range(options.rounds)]
            added[load.name][children] = [nexus - raw for nexus, raw in pairs]
    return {"added_us": added}


def intent_log(options, measure) -> dict | None:
    loads = sides.chosen(LOG_LOADS, options.jobs)
    if not loads:
        return None
    contenders = {name: sides.Contender(None, lambda load, flags=flags: measure(
                      load, [memory(i) for i in range(3)], options.seconds, "--fill", *flags))
                  for name, flags in (("log", []), ("no log", ["--no-intent-log"]))}
    return sides.Comparison("write-intent log, three copies in memory", contenders, options.rounds).run(loads)


def first_intents(options, _measure) -> dict | None:
    """Each write is the first one to a region: over the network, to a nexus of three copies in memory that nobody wrote."""
    loads = sides.chosen(FIRST_LOADS, options.jobs)
    if not loads:
        return None
    program = sides.Program([options.bin.resolve() / "first_write_load"])

    def measured(load: sides.Load, *flags: str) -> sides.Seen:
        with bench_engine.folder() as folder, bench_engine.engine(options.bin, folder, "-l", str(sides.TARGET_CORE), *flags) as engine:
            children = [f"malloc:///child{i}?size_mb={FIRST_MIB + 8}&uuid={child_uuid(i)}" for i in range(3)]
            engine.client("nexus", "create", child_uuid(3), f"{FIRST_MIB}MiB", *children, "--name", "volume")
            uri = engine.client("nexus", "publish", child_uuid(3)).removeprefix("Nexus published over: ").strip()
            report = json.loads(program.run(uri, load.depth, sides.LOAD_CORE))
            engine.client("nexus", "destroy", child_uuid(3))
            engine.stop()
        return sides.Seen(report["iops"], report["mean_us"])

    contenders = {name: sides.Contender(None, lambda load, flags=flags: measured(load, *flags))
                  for name, flags in (("log", []), ("no log", ["--no-intent-log"]))}
    return sides.Comparison("write-intent log, first writes to regions", contenders, options.rounds).run(loads)


PARTS = {"one_copy": one_copy, "local_replica": local_replica, "three_remote": three_remote, "latency": latency, "intent_log": intent_log,
         "first_intents": first_intents}


def run(options) -> dict:
    measure = nexus_load(options.bin)
    return {name: part(options, measure) for name, part in PARTS.items() if name in options.nexus_parts}


def show(results: dict) -> str:
    texts = []
    for name, result in results.items():
        if result is None:
            continue
        if name != "latency":
            texts.append(sides.show(result))
            continue
        rows = [[job, *(f"{bench_engine.median_and_spread(values)[0]:.2f} ({min(values):.2f}..{max(values):.2f})"
                        for values in by_children.values())] for job, by_children in result["added_us"].items()]
        texts.append(bench_engine.table(["us added by a nexus, memory", "1 child", "2 children", "3 children"], rows))
    return "\n\n".join(texts)


def add_options(parser) -> None:
    parser.add_argument("--nexus-parts", nargs="+", choices=PARTS, default=list(PARTS), help="some of nexus_iops")


if __name__ == "__main__":
    benchmark.main(__doc__, run, show, sides.add_options, file_iops.add_options, add_options)
