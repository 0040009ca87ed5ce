#!/usr/bin/env python3
"""What a pool costs: replicas of a pool on a memory device beside such a device without a pool, by the same engine.

Thick replicas, and thin ones whose space is allocated (they are written over once before anything is measured).
casperf is the load, over the network. --replica-disks names other devices than memory: one of 64 MiB, as large as a
replica, that is exported as it is, and a blank one of 256 MiB for the pool. Both are written to.
"""

import pathlib
import shlex
import uuid

import bench_engine
import benchmark
import sides

MEMORY = ["malloc:///raw?size_mb=64", "malloc:///pool?size_mb=256"]
SIZE = "64MiB"
LOADS = [load for load in sides.SMALL if load.depth == 32]
KINDS = {"thick": ([], 0.98), "thin": (["--thin"], 0.97)}


def run(options) -> dict:
    casperf = sides.casperf(options.bin)
    loads = sides.chosen(LOADS, options.jobs)
    results = {}
    raw_uri, pool_disk = options.replica_disks or MEMORY
    device = "memory device" if options.replica_disks is None else f"{raw_uri} and {pool_disk}"
    with bench_engine.folder() as folder, sides.EngineTarget(options.bin, pathlib.Path(folder) / "engine", raw_uri,
                                                             shlex.split(options.engine_options)) as raw:
        raw.engine.client("pool", "create", "bench", pool_disk)
        for kind, (creation, goal) in KINDS.items():
            uri = raw.engine.client("replica", "create", kind, str(uuid.uuid4()), "bench", "--size", SIZE, "-p", "nvmf",
                                    *creation).strip()
            contenders = {name: sides.Contender(None, lambda load, uri=uri: casperf(load, uri, options.seconds))
                          for name, uri in (("replica", uri), ("raw", raw.uri))}
            comparison = sides.Comparison(f"{kind} replica, {device}", contenders, options.rounds,
                                          {load.name: goal for load in loads})
            results[kind] = comparison.run(loads, prepare=sides.FILL)
        raw.engine.client("pool", "destroy", "bench")
    return results


def add_options(parser) -> None:
    parser.add_argument("--replica-disks", nargs=2, metavar=("RAW", "POOL"), help="two URIs, instead of memory")


def show(results: dict) -> str:
    return "\n\n".join(sides.show(result) for result in results.values())


if __name__ == "__main__":
    benchmark.main(__doc__, run, show, sides.add_options, add_options)
