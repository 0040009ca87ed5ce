#!/usr/bin/env python3
"""First writes to the clusters of a thin volume: each takes a cluster and changes metadata.

A new replica for each measurement, of a pool on a sparse file in --disk-folder (a file system in memory shows the
software, a disk shows the disk); a load generator that knows neither side (first_write_load), over the network. For
ratios the environment names

  CAIRN_BENCH_THIN_PEER      a command that starts a peer's target on core 0, with a new thin volume of 64 GiB (clusters of
                             4 MiB) on a sparse file; prints a line that begins with "ready", ends on SIGTERM
  CAIRN_BENCH_THIN_PEER_URI  where that volume is: nvmf://address:port/nqn
"""

import json
import os
import pathlib
import uuid

import bench_engine
import benchmark
import sides

VOLUME_GIB = 64
DISK_GIB = VOLUME_GIB + 8
LOADS = [sides.Load(f"first writes, depth {depth}", True, 0, 4096, depth) for depth in (1, 32, 128)]
GOALS = {load.name: 2.0 for load in LOADS if load.depth > 1}


def run(options) -> dict:
    program = sides.Program([options.bin.resolve() / "first_write_load"])

    def measured(uri: str, load: sides.Load) -> sides.Seen:
        report = json.loads(program.run(uri, load.depth, sides.LOAD_CORE))
        return sides.Seen(report["iops"], report["mean_us"])

    with bench_engine.folder() as folder, bench_engine.folder(options.disk_folder) as disk_folder:
        disk = pathlib.Path(disk_folder) / "disk.img"
        with disk.open("wb") as file:
            file.truncate(DISK_GIB << 30)
        engine = bench_engine.engine(options.bin, folder, "-l", str(sides.TARGET_CORE), "--spin-budget", "poll",
                                     environment={"NVMF_TCP_MAX_QUEUE_DEPTH": str(sides.QUEUE_ENTRIES)})

        def ours(load: sides.Load) -> sides.Seen:
            with engine:
                engine.client("pool", "create", "bench", f"aio://{disk}")
                uri = engine.client("replica", "create", "fresh", str(uuid.uuid4()), "bench", "--size",
                                    f"{VOLUME_GIB}GiB", "--thin", "-p", "nvmf").strip()
                seen = measured(uri, load)
                engine.client("pool", "destroy", "bench")
                engine.stop()
            return seen

        contenders = {"ours": sides.Contender(None, ours)}
        if command := os.environ.get("CAIRN_BENCH_THIN_PEER"):
            uri = os.environ["CAIRN_BENCH_THIN_PEER_URI"]

            def peer(load: sides.Load) -> sides.Seen:
                with sides.PeerTarget(command, uri):
                    return measured(uri, load)

            contenders["peer"] = sides.Contender(None, peer)
        comparison = sides.Comparison("first writes, thin volume", contenders, options.rounds, GOALS)
        return comparison.run(sides.chosen(LOADS, options.jobs))


def add_options(parser) -> None:
    parser.add_argument("--disk-folder", type=pathlib.Path, help="where the disk of first_writes is made [temporary files]")


if __name__ == "__main__":
    benchmark.main(__doc__, run, sides.show, sides.add_options, add_options)
