#!/usr/bin/env python3
"""Our file devices beside fio's io_uring engine, on one file.

The file is written once before anything is measured. Its folder (--folder) decides which disk is measured. Needs fio.
"""

import contextlib
import json
import os
import pathlib
import shutil

import bench_engine
import benchmark
import sides

LOADS = [sides.Load(f"4 KiB random {name}, depth {depth}", True, percent, 4096, depth)
         for name, percent in (("read", 100), ("write", 0)) for depth in (1, 32)]
GOALS = {load.name: 0.95 for load in LOADS if load.depth == 32}
CHUNK = 1 << 20


def fio(path: pathlib.Path, seconds: int):
    program = sides.Program([shutil.which("fio"), "--name=bench", "--ioengine=io_uring", "--direct=1", "--time_based",
                             "--norandommap", "--fixedbufs", "--registerfiles", f"--filename={path}",
                             f"--runtime={seconds}", "--ramp_time=300ms", f"--cpus_allowed={sides.LOAD_CORE}",
                             "--output-format=json"])

    def measure(load: sides.Load) -> sides.Seen:
        report = json.loads(program.run(f"--iodepth={load.depth}", f"--bs={load.size}", f"--rw={load.type}"))
        job = report["jobs"][0]
        kind = job["read" if load.read_percent == 100 else "write"]
        return sides.Seen(kind["iops"], kind["clat_ns"]["mean"] / 1000)

    return measure


def fill(path: pathlib.Path, size: int) -> None:
    with path.open("wb") as file:
        for _ in range(size // CHUNK):
            file.write(os.urandom(CHUNK))
        file.flush()
        os.fsync(file.fileno())


def run(options) -> dict | None:
    if shutil.which("fio") is None:
        return None
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(bench_engine.folder(options.folder)))
        path = folder / "disk.img"
        fill(path, options.file_mb << 20)
        casperf = sides.casperf(options.bin)
        contenders = {
            "ours": sides.Contender(None, lambda load: casperf(load, f"uring://{path}?blk_size=4096", options.seconds)),
            "fio": sides.Contender(None, fio(path, options.seconds))}
        comparison = sides.Comparison("file device, uring", contenders, options.rounds, GOALS)
        return comparison.run(sides.chosen(LOADS, options.jobs))


def show(result: dict | None) -> str:
    return "file_iops: no fio, nothing was measured" if result is None else sides.show(result)


def add_options(parser) -> None:
    parser.add_argument("--folder", type=pathlib.Path, help="where the file of file_iops is made [temporary files]")
    parser.add_argument("--file-mb", type=int, default=1024)


if __name__ == "__main__":
    benchmark.main(__doc__, run, show, sides.add_options, add_options)
