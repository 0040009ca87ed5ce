#!/usr/bin/env python3
"""First writes to the clusters of a thin volume: each takes a cluster and changes metadata.

A new replica for each measurement, of a pool on the block device --disk or on a sparse file in --disk-folder (a file
system in memory shows the software, a disk shows the disk); a load generator that knows neither side (first_write_load),
over the network. A block device without a disk, on which both sides work as on one:

  truncate -s 72G /dev/shm/disk && losetup --find --show --sector-size 4096 /dev/shm/disk

For ratios the environment names

  CAIRN_BENCH_THIN_PEER      a command that starts a peer's target on core 0, with a new thin volume of 64 GiB (clusters of
                             4 MiB) on a sparse file, or on the block device; prints a line that begins with "ready", ends on SIGTERM
  CAIRN_BENCH_THIN_PEER_URI  where that volume is: nvmf://address:port/nqn
"""

import contextlib
import json
import os
import pathlib
import subprocess
import uuid

import bench_engine
import benchmark
import sides

VOLUME_GIB = 64
DISK_GIB = VOLUME_GIB + 8
LOADS = [sides.Load(f"first writes, depth {depth}", True, 0, 4096, depth) for depth in (1, 32, 128)]
GOALS = {load.name: 2.0 for load in LOADS if load.depth > 1}


@contextlib.contextmanager
def disk_of(options):
    if options.disk:
        yield options.disk
        return
    with bench_engine.folder(options.disk_folder) as folder:
        disk = pathlib.Path(folder) / "disk.img"
        with disk.open("wb") as file:
            file.truncate(DISK_GIB << 30)
        yield disk


def clear(disk: pathlib.Path) -> None:
    """Nothing is left of the other side's pool."""
    if disk.is_block_device():
        subprocess.run(["blkdiscard", "--force", disk], check=True)


def run(options) -> dict:
    program = sides.Program([options.bin.resolve() / "first_write_load"])

    def measured(uri: str, load: sides.Load) -> sides.Seen:
        report = json.loads(program.run(uri, load.depth, sides.LOAD_CORE))
        return sides.Seen(report["iops"], report["mean_us"])

    with bench_engine.folder() as folder, disk_of(options) as disk:
        engine = bench_engine.engine(options.bin, folder, "-l", str(sides.TARGET_CORE), "--spin-budget", "poll",
                                     environment={"NVMF_TCP_MAX_QUEUE_DEPTH": str(sides.QUEUE_ENTRIES)})

        def ours(load: sides.Load) -> sides.Seen:
            clear(disk)
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
                clear(disk)
                with sides.PeerTarget(command, uri):
                    return measured(uri, load)

            contenders["peer"] = sides.Contender(None, peer)
        comparison = sides.Comparison("first writes, thin volume", contenders, options.rounds, GOALS)
        return comparison.run(sides.chosen(LOADS, options.jobs))


def add_options(parser) -> None:
    parser.add_argument("--disk", type=pathlib.Path, help=f"block device of first_writes, {DISK_GIB} GiB: its data is lost")
    parser.add_argument("--disk-folder", type=pathlib.Path, help="where the disk of first_writes is made [temporary files]")


if __name__ == "__main__":
    benchmark.main(__doc__, run, sides.show, sides.add_options, add_options)
