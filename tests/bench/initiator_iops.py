#!/usr/bin/env python3
"""Both ends: casperf through our initiator on our target, beside a peer's block layer and initiator on its target.

For ratios the environment names a peer, as for target_iops.py (CAIRN_BENCH_PEER, CAIRN_BENCH_PEER_ADDR), and

  CAIRN_BENCH_BDEVPERF          a program that takes bdevperf's options and prints its table
  CAIRN_BENCH_BDEVPERF_OPTIONS  further options for it, such as "--no-huge -s 512 --no-pci"
"""

import contextlib
import pathlib
import shlex

import bench_engine
import benchmark
import sides
import target_iops

LOADS = target_iops.LOADS
GOALS = target_iops.GOALS


def run(options) -> dict:
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(bench_engine.folder()))
        ours = stack.enter_context(sides.EngineTarget(options.bin, folder / "engine", target_iops.DEVICE,
                                                      shlex.split(options.engine_options)))
        casperf = sides.casperf(options.bin)
        contenders = {"ours": sides.Contender(ours, lambda load: casperf(load, ours.uri, options.seconds))}
        bdevperf, peer = sides.peer_bdevperf(folder), sides.peer_target()
        if bdevperf and peer:
            stack.enter_context(peer)
            contenders["peer"] = sides.Contender(peer, lambda load: bdevperf(load, peer.address, options.seconds))
        comparison = sides.Comparison("initiator and target, memory device", contenders, options.rounds, GOALS)
        return comparison.run(sides.chosen(LOADS, options.jobs), prepare=sides.FILL)


if __name__ == "__main__":
    benchmark.main(__doc__, run, sides.show, sides.add_options)
