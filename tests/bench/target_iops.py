#!/usr/bin/env python3
"""I/O per second of the target with a memory device, beside a peer in the same run.

Needs a load generator and, for ratios, a peer; both are named by the environment:

  CAIRN_BENCH_PERF          a program that takes spdk_nvme_perf's options and prints its table
  CAIRN_BENCH_PERF_OPTIONS  further options for it, such as "--no-huge -s 512"
  CAIRN_BENCH_PEER          a command that starts a peer's target on core 0, prints a line that begins with "ready" and
                            ends on SIGTERM
  CAIRN_BENCH_PEER_ADDR     its transport id, as the generator takes it: "trtype:TCP adrfam:IPv4 traddr:127.0.0.1 ..."

The target gets core 0, the generator core 1. Both sides are measured in turn, round by round, so that what else the
machine does hits both; medians and spreads of the rounds are shown. Only one side runs at a time. A measurement during
which somebody waited for a processor for more than 3 % of the time (the kernel's pressure gauge) counts as disturbed;
how many were is told below the table.
"""

import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import time
from typing import Iterator, NamedTuple

import bench_engine
import child_process
from bench_engine import median_and_spread

TARGET_CORE, LOAD_CORE = 0, 1
PEER_START_TIMEOUT_S = 60
ROUND_TIMEOUT_S = 60
DISTURBED_SHARE = 0.03
DEVICE = "malloc:///bench?size_mb=64"


class Job(NamedTuple):
    name: str
    workload: str
    read_percent: int | None
    size: int
    depth: int


def jobs() -> list[Job]:
    mixes = [("random read", "randread", None), ("random write", "randwrite", None), ("70/30", "randrw", 70)]
    small = [Job(f"4 KiB {name}, depth {depth}", workload, percent, 4096, depth)
             for name, workload, percent in mixes for depth in (1, 32, 128)]
    return small + [Job("128 KiB read, depth 8", "read", None, 131072, 8),
                    Job("128 KiB write, depth 8", "write", None, 131072, 8)]


class Generator:
    def __init__(self, program: str, seconds: int):
        self._command = [program, *shlex.split(os.environ.get("CAIRN_BENCH_PERF_OPTIONS", "")), "-c", hex(1 << LOAD_CORE),
                         "-t", str(seconds)]

    def measure(self, job: Job, address: str) -> float:
        """I/O per second."""
        mix = [] if job.read_percent is None else ["-M", str(job.read_percent)]
        result = subprocess.run([*self._command, "-q", str(job.depth), "-o", str(job.size), "-w", job.workload, *mix,
                                 "-r", address], text=True, capture_output=True, timeout=ROUND_TIMEOUT_S)
        total = re.search(r"^Total\s*:\s*([0-9.]+)", result.stdout, re.MULTILINE)
        if result.returncode != 0 or not total:
            raise SystemExit(f"the load generator failed ({result.returncode}):\n{result.stdout}{result.stderr}")
        return float(total[1])


class Ours:
    """The engine, alive for one round."""

    def __init__(self, binaries: pathlib.Path, folder: str, options: list[str]):
        self._engine = bench_engine.engine(binaries, folder, "-l", str(TARGET_CORE), *options)

    def __enter__(self) -> str:
        self._engine.start()
        nqn = self._engine.create_and_share(DEVICE)
        return f"trtype:TCP adrfam:IPv4 traddr:127.0.0.1 trsvcid:{self._engine.port} subnqn:{nqn}"

    def __exit__(self, failed, *_) -> None:
        if failed:
            self._engine.kill()
        else:
            self._engine.stop()


class Peer:
    """The peer's target, alive for one round."""

    def __init__(self, command: str, address: str):
        self._command, self._address = shlex.split(command), address
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> str:
        self._process = child_process.spawn(self._command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        seen = []
        for line in self._process.stdout:
            if line.startswith("ready"):
                return self._address
            seen.append(line)
        raise SystemExit(f"the peer ended with {self._process.wait()} before it was ready:\n{''.join(seen)}")

    def __exit__(self, *_) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(PEER_START_TIMEOUT_S)
        self._process.stdout.close()


def waited_seconds() -> float | None:
    """How long ever somebody waited for a processor; nothing when the kernel does not tell."""
    gauge = pathlib.Path("/proc/pressure/cpu")
    if not gauge.exists():
        return None
    return int(re.search(r"^some .*total=(\d+)", gauge.read_text(), re.MULTILINE)[1]) / 1e6


def selected(pattern: str) -> Iterator[Job]:
    return (job for job in jobs() if re.search(pattern, job.name))


def run(options) -> dict | None:
    program = os.environ.get("CAIRN_BENCH_PERF")
    if not program:
        return None
    chosen = list(selected(options.jobs))
    generator = Generator(program, options.seconds)
    with bench_engine.folder() as folder:
        sides = {"ours": Ours(options.bin, folder, shlex.split(options.engine_options))}
        if command := os.environ.get("CAIRN_BENCH_PEER"):
            sides["peer"] = Peer(command, os.environ["CAIRN_BENCH_PEER_ADDR"])
        seen: dict[str, dict[str, list[float]]] = {job.name: {side: [] for side in sides} for job in chosen}
        disturbed = measured = 0
        for round_number in range(options.rounds):
            for side, target in sides.items():
                with target as address:
                    for job in chosen:
                        before, started = waited_seconds(), time.monotonic()
                        seen[job.name][side].append(generator.measure(job, address))
                        if before is not None:
                            measured += 1
                            disturbed += waited_seconds() - before > DISTURBED_SHARE * (time.monotonic() - started)
                        print(f"round {round_number + 1}/{options.rounds}  {side}  {job.name}: "
                              f"{seen[job.name][side][-1]:.0f}", file=sys.stderr)
    return {"benchmark": "target_iops", "rounds": options.rounds, "seconds": options.seconds,
            "engine_options": options.engine_options, "iops": seen, "gauged": measured, "disturbed": disturbed}


def show(result: dict | None) -> str:
    if result is None:
        return "target_iops: no load generator (CAIRN_BENCH_PERF is not set), nothing was measured"
    rows = []
    for name, sides in result["iops"].items():
        ours, our_spread = median_and_spread(sides["ours"])
        row = [name, f"{ours / 1000:.1f} K", f"{100 * our_spread:.0f} %"]
        if "peer" in sides:
            peer, peer_spread = median_and_spread(sides["peer"])
            # Of the pairs that ran one after the other.
            ratios = [one / other for one, other in zip(sides["ours"], sides["peer"])]
            ratio, ratio_spread = median_and_spread(ratios)
            row += [f"{peer / 1000:.1f} K", f"{100 * peer_spread:.0f} %", f"{ratio:.2f}",
                    f"{min(ratios):.2f}..{max(ratios):.2f}"]
        rows.append(row)
    header = [f"target, memory device, {result['rounds']} rounds of {result['seconds']} s", "IOPS", "spread"]
    if rows and len(rows[0]) > len(header):
        header += ["peer", "spread", "ratio", "range"]
    lines = [bench_engine.table(header, rows)]
    if result["gauged"]:
        lines.append(f"{result['disturbed']} of {result['gauged']} measurements were disturbed by other processes")
    if len(header) == 3:
        lines.append("no peer (CAIRN_BENCH_PEER is not set): no ratios")
    return "\n".join(lines)


def main() -> int:
    parser = bench_engine.arguments("I/O per second of the target with a memory device, beside a peer in the same run.")
    add_options(parser)
    options = parser.parse_args()
    result = run(options)
    print(show(result))
    if result:
        bench_engine.keep(options.json, result)
    return 0


def add_options(parser) -> None:
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of a measurement")
    parser.add_argument("--jobs", default="", help="only those whose name matches this regular expression")
    parser.add_argument("--engine-options", default="", help="further options for our engine, in one argument")


if __name__ == "__main__":
    sys.exit(main())
