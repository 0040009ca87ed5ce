#!/usr/bin/env python3
"""Importing a pool of 10,000 thin replicas on 15 TiB, a sparse file in --disk-folder: after a clean export, and after a crash.

Seconds, and the memory of a replica that nobody uses, its map included. Each import is in a new process (pool_bench).
"""

import pathlib
import re
import statistics

import bench_engine
import benchmark
import first_writes
import sides

GOAL_SECONDS = {"import, clean": 1.0, "import after a crash": 3.0}
GOAL_KIB = 16
LINE = re.compile(r"^(import[a-z, ]*?) +([\d.]+) s +resident memory \+?(-?[\d.]+) KiB a replica$", re.M)


def run(options) -> dict:
    program = sides.Program([options.bin.resolve() / "pool_bench"])
    seen = {name: {"seconds": [], "kib": []} for name in GOAL_SECONDS}
    for _ in range(options.rounds):
        with bench_engine.folder(options.disk_folder) as folder:
            found = LINE.findall(program.run("import", pathlib.Path(folder) / "disk.img"))
        for name, seconds, kib in found:
            seen[name]["seconds"].append(float(seconds))
            seen[name]["kib"].append(float(kib))
        if len(found) != len(seen):
            raise RuntimeError("pool_bench import says something else")
    return seen


def show(results: dict) -> str:
    def spread(values: list[float], unit: str) -> str:
        return f"{statistics.median(values):.2f} {unit} ({min(values):.2f}..{max(values):.2f})"

    rows = [[name, spread(each["seconds"], "s"), f"{GOAL_SECONDS[name]:.0f} s", spread(each["kib"], "KiB"), f"{GOAL_KIB} KiB"]
            for name, each in results.items()]
    return bench_engine.table(["pool of 10,000 replicas", "takes", "goal", "memory a replica", "goal"], rows)


if __name__ == "__main__":
    benchmark.main(__doc__, run, show, sides.add_options, first_writes.add_options)
