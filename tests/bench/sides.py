"""What is compared: sides that live through a whole run, of which only the one that is measured runs.

Both sides are measured in turn, round by round, so that what else the machine does hits both. The side that waits is
stopped (SIGSTOP): a peer that spins would otherwise take the core.
"""

import contextlib
import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import time
import urllib.parse
from typing import Callable, NamedTuple, Protocol, Sequence

import bench_engine
import child_process
from bench_engine import median_and_spread

TARGET_CORE, LOAD_CORE = 0, 1
START_TIMEOUT_S = 60
MEASUREMENT_TIMEOUT_S = 120
DISTURBED_SHARE = 0.03
# The load generators ask for one entry more than the depth.
QUEUE_ENTRIES = 256


class Side(Protocol):
    """Something that serves; entering the context starts it."""

    def __enter__(self): ...
    def __exit__(self, *_): ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...


class EngineTarget:
    """Our engine on the target's core, with one device shared."""

    def __init__(self, binaries: pathlib.Path, folder: pathlib.Path, device: str, options: Sequence[str] = ()):
        folder.mkdir(parents=True)
        self.engine = bench_engine.engine(binaries, str(folder), "-l", str(TARGET_CORE), *options,
                                          environment={"NVMF_TCP_MAX_QUEUE_DEPTH": str(QUEUE_ENTRIES)})
        self._device = device
        self.nqn = ""

    def __enter__(self) -> "EngineTarget":
        self.engine.start()
        self.nqn = self.engine.create_and_share(self._device)
        return self

    def __exit__(self, failed, *_) -> None:
        self.resume()
        if failed:
            self.engine.kill()
        else:
            self.engine.stop()

    def pause(self) -> None:
        self.engine.freeze()

    def resume(self) -> None:
        self.engine.thaw()

    @property
    def address(self) -> str:
        return f"trtype:TCP adrfam:IPv4 traddr:127.0.0.1 trsvcid:{self.engine.port} subnqn:{self.nqn}"

    @property
    def uri(self) -> str:
        return f"nvmf://127.0.0.1:{self.engine.port}/{urllib.parse.quote(self.nqn, safe=':')}"


class PeerTarget:
    """A peer's target, started by a command that prints a line "ready..." and ends on SIGTERM."""

    def __init__(self, command: str, address: str):
        self._command = shlex.split(command)
        self.address = address
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> "PeerTarget":
        # A group of its own: the command may be a script around the target.
        self._process = child_process.spawn(self._command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                            start_new_session=True)
        seen = []
        for line in self._process.stdout:
            if line.startswith("ready"):
                return self
            seen.append(line)
        raise SystemExit(f"the peer ended with {self._process.wait()} before it was ready:\n{''.join(seen)}")

    def __exit__(self, *_) -> None:
        self.resume()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(START_TIMEOUT_S)
        self._process.stdout.close()

    def pause(self) -> None:
        os.killpg(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.killpg(self._process.pid, signal.SIGCONT)


def peer_target() -> PeerTarget | None:
    command = os.environ.get("CAIRN_BENCH_PEER")
    return PeerTarget(command, os.environ["CAIRN_BENCH_PEER_ADDR"]) if command else None


class Load(NamedTuple):
    """A job of a load generator."""
    name: str
    random: bool
    read_percent: int
    size: int
    depth: int

    @property
    def type(self) -> str:
        kind = {100: "read", 0: "write"}.get(self.read_percent, "rw")
        return "rand" + kind if self.random else kind

    def peer_options(self) -> list[str]:
        """In the words of spdk_nvme_perf and bdevperf."""
        mix = ["-M", str(self.read_percent)] if self.type.endswith("rw") else []
        return ["-q", str(self.depth), "-o", str(self.size), "-w", self.type, *mix]

    def casperf_options(self) -> list[str]:
        mix = ["-M", str(self.read_percent)] if self.type.endswith("rw") else []
        return ["-q", str(self.depth), "-b", str(self.size), "-t", self.type, *mix]


SMALL = [Load(f"4 KiB {name}, depth {depth}", True, percent, 4096, depth)
         for name, percent in (("random read", 100), ("random write", 0), ("70/30", 70)) for depth in (1, 32, 128)]
# Writes all of a small device: memory that was never written is one page of zeroes, and reads from it cost next to nothing.
FILL = Load("fill", False, 0, 131072, 8)
LARGE = [Load(f"128 KiB {name}, depth 8", False, percent, 131072, 8) for name, percent in (("read", 100), ("write", 0))]


def at_least(goal: float) -> str:
    return f">= {goal:.2f}"


class Program:
    """A load generator: runs once for a measurement and prints what it saw."""

    def __init__(self, command: Sequence[str | pathlib.Path]):
        self._command = list(map(str, command))

    def run(self, *arguments: str) -> str:
        result = subprocess.run([*self._command, *map(str, arguments)], text=True, capture_output=True,
                                timeout=MEASUREMENT_TIMEOUT_S)
        if result.returncode != 0:
            raise SystemExit(f"{self._command[0]} {' '.join(map(str, arguments))} failed ({result.returncode}):\n"
                             f"{result.stdout[-4000:]}{result.stderr[-4000:]}")
        return result.stdout


class Seen(NamedTuple):
    """One measurement."""
    iops: float
    mean_us: float


def casperf(binaries: pathlib.Path, core: int = LOAD_CORE) -> Callable[[Load, str, float], Seen]:
    program = Program([binaries.resolve() / "casperf", "-l", core, "-o", "json"])

    def measure(load: Load, uri: str, seconds: float) -> Seen:
        report = json.loads(program.run("-d", f"{int(seconds * 1000)}ms", "-w", "300ms", *load.casperf_options(), uri))
        total = report["total"]
        ios = max(1, total["ios"])
        mean = sum(total[kind]["mean_us"] * total[kind]["count"] for kind in ("read", "write")) / ios
        return Seen(total["iops"], mean)

    return measure


def peer_perf() -> Callable[[Load, str, float], Seen] | None:
    """A program that takes spdk_nvme_perf's options and prints its table."""
    if not (path := os.environ.get("CAIRN_BENCH_PERF")):
        return None
    program = Program([path, *shlex.split(os.environ.get("CAIRN_BENCH_PERF_OPTIONS", "")), "-c", hex(1 << LOAD_CORE)])

    def measure(load: Load, address: str, seconds: float) -> Seen:
        output = program.run("-t", f"{seconds:.0f}", *load.peer_options(), "-r", address)
        total = re.search(r"^Total\s*:\s*([0-9.]+)\s+[0-9.]+\s+([0-9.]+)", output, re.MULTILINE)
        if not total:
            raise SystemExit(f"the load generator told no total:\n{output}")
        return Seen(float(total[1]), float(total[2]))

    return measure


def peer_bdevperf(folder: pathlib.Path) -> Callable[[Load, str, float], Seen] | None:
    """A program that takes bdevperf's options and prints its table: load through the peer's block layer."""
    if not (path := os.environ.get("CAIRN_BENCH_BDEVPERF")):
        return None
    program = Program([path, *bdevperf_options(), "-m", hex(1 << LOAD_CORE), "-r", folder / "bdevperf.sock"])

    def measure(load: Load, address: str, seconds: float) -> Seen:
        parameters = dict(part.split(":", 1) for part in address.split(" "))
        attach = {"method": "bdev_nvme_attach_controller", "params": {"name": "Remote", **parameters}}
        config = folder / "bdevperf.json"
        config.write_text(json.dumps({"subsystems": [
            {"subsystem": "bdev", "config": [attach, {"method": "bdev_wait_for_examine"}]}]}))
        return bdevperf_total(program.run("-c", config, "-t", f"{seconds:.0f}", *load.peer_options()))

    return measure


def bdevperf_options() -> list[str]:
    return shlex.split(os.environ.get("CAIRN_BENCH_BDEVPERF_OPTIONS", ""))


def bdevperf_total(output: str) -> Seen:
    total = re.search(r"^\s*Total\s*:\s*([0-9.]+)\s+[0-9.]+\s+[0-9.]+\s+[0-9.]+\s+([0-9.]+)", output, re.MULTILINE)
    if not total:
        raise SystemExit(f"bdevperf told no total:\n{output}")
    return Seen(float(total[1]), float(total[2]))


class Contender(NamedTuple):
    """A side as it takes part in a comparison: who serves (if somebody has to) and how it is measured."""
    side: Side | None
    measure: Callable[[Load], Seen]


class Comparison:
    """Measures contenders in turn. The first is ours; with two of them there are ratios."""

    def __init__(self, title: str, contenders: dict[str, Contender], rounds: int, goals: dict[str, float] | None = None):
        self._title, self._contenders, self._rounds = title, contenders, rounds
        self._goals = goals or {}
        self._measured = self._disturbed = 0

    def run(self, loads: Sequence[Load], prepare: Load | None = None) -> dict:
        """`prepare`: runs once on each side before anything is measured."""
        seen = {load.name: {name: [] for name in self._contenders} for load in loads}
        for each in self._contenders.values():
            if each.side is not None:
                each.side.pause()
        if prepare is not None:
            for each in self._contenders.values():
                self._measure_once(each, prepare)
        for load in loads:
            for number in range(self._rounds):
                for name, contender in self._contenders.items():
                    result = self._measure_once(contender, load)
                    seen[load.name][name].append(result._asdict())
                    print(f"{number + 1}/{self._rounds}  {name}  {load.name}: {result.iops:.0f} IO/s, "
                          f"{result.mean_us:.1f} us", file=sys.stderr)
        return {"title": self._title, "rounds": self._rounds, "goals": self._goals, "seen": seen,
                "measured": self._measured, "disturbed": self._disturbed}

    def _measure_once(self, contender: Contender, load: Load) -> Seen:
        before, started = _waited_seconds(), time.monotonic()
        with contextlib.ExitStack() as stack:
            if contender.side is not None:
                contender.side.resume()
                stack.callback(contender.side.pause)
            result = contender.measure(load)
        if before is not None:
            self._measured += 1
            self._disturbed += _waited_seconds() - before > DISTURBED_SHARE * (time.monotonic() - started)
        return result


def _waited_seconds() -> float | None:
    """How long ever somebody waited for a processor; nothing when the kernel does not tell."""
    gauge = pathlib.Path("/proc/pressure/cpu")
    if not gauge.exists():
        return None
    return int(re.search(r"^some .*total=(\d+)", gauge.read_text(), re.MULTILINE)[1]) / 1e6


def show(result: dict) -> str:
    """The ratio is the median of the ratios of pairs that ran one after the other; its range is theirs."""
    rows, names = [], []
    for job, sides in result["seen"].items():
        names = list(sides)
        row = [job]
        for values in sides.values():
            iops, spread = median_and_spread([each["iops"] for each in values])
            mean, _ = median_and_spread([each["mean_us"] for each in values])
            row += [f"{iops / 1000:.1f} K", f"{100 * spread:.0f} %", f"{mean:.1f}"]
        if len(sides) > 1:
            ours, theirs = (sides[name] for name in names[:2])
            ratios = [one["iops"] / other["iops"] for one, other in zip(ours, theirs)]
            ratio, _ = median_and_spread(ratios)
            row += [f"{ratio:.2f}", f"{min(ratios):.2f}..{max(ratios):.2f}"]
            goal = result["goals"].get(job)
            row += ["", ""] if goal is None else [at_least(goal), "met" if ratio >= goal else "MISSED"]
        rows.append(row)
    header = [f"{result['title']}, {result['rounds']} rounds"]
    for name in names:
        header += [name, "spread", "us"]
    if len(names) > 1:
        header += ["ratio", "range", "goal", ""]
    lines = [bench_engine.table(header, rows)]
    if result["measured"]:
        lines.append(f"{result['disturbed']} of {result['measured']} measurements were disturbed by other processes")
    return "\n".join(lines)


def chosen(loads: Sequence[Load], pattern: str) -> list[Load]:
    return [load for load in loads if re.search(pattern, load.name)]


def add_options(parser) -> None:
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of a measurement")
    parser.add_argument("--jobs", default="", help="only those whose name matches this regular expression")
    parser.add_argument("--engine-options", default="", help="further options for our engine, in one argument")
