#!/usr/bin/env python3
"""The target over a memory device, with an independent load generator, beside a peer in the same run.

Needs a load generator and, for ratios, a peer; both are named by the environment:

  CAIRN_BENCH_PERF          a program that takes spdk_nvme_perf's options and prints its table
  CAIRN_BENCH_PERF_OPTIONS  further options for it, such as "--no-huge -s 512"
  CAIRN_BENCH_PEER          a command that starts a peer's target on core 0, prints a line that begins with "ready" and
                            ends on SIGTERM
  CAIRN_BENCH_PEER_ADDR     its transport id, as the generator takes it: "trtype:TCP adrfam:IPv4 traddr:127.0.0.1 ..."

The target gets core 0, the generator core 1.
"""

import contextlib
import pathlib
import shlex

import bench_engine
import benchmark
import sides

DEVICE = "malloc:///bench?size_mb=64"
LOADS = [*sides.SMALL, *sides.LARGE]
GOALS = {load.name: 1.2 if load.depth == 128 else 1.0 for load in LOADS}


def run(options) -> dict | None:
    if (perf := sides.peer_perf()) is None:
        return None
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(bench_engine.folder()))
        targets = {"ours": sides.EngineTarget(options.bin, folder / "engine", DEVICE, shlex.split(options.engine_options))}
        if peer := sides.peer_target():
            targets["peer"] = peer
        for target in targets.values():
            stack.enter_context(target)
        contenders = {
            name: sides.Contender(target, lambda load, address=target.address: perf(load, address, options.seconds))
            for name, target in targets.items()}
        comparison = sides.Comparison("target, memory device", contenders, options.rounds, GOALS)
        return comparison.run(sides.chosen(LOADS, options.jobs), prepare=sides.FILL)


def show(result: dict | None) -> str:
    if result is None:
        return "target_iops: no load generator (CAIRN_BENCH_PERF is not set), nothing was measured"
    return sides.show(result)


if __name__ == "__main__":
    benchmark.main(__doc__, run, show, sides.add_options)
