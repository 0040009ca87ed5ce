#!/usr/bin/env python3
"""Hurts a volume of three replicas while a Linux host uses it; prints how long the applications had to wait.

Each case: no error and no wrong byte for fio and for a writer that knows what was flushed; the volume is healthy again
afterwards; all replicas hold the same bytes. Needs root (network namespaces); without, it says so and ends with 0.
"""

import argparse
import pathlib
import random
import shutil
import sys
import tempfile
import time
import traceback

from cluster import BINARIES
from cases import Case, all_cases, random_fault
from trial import Trial

import network

COMPARE_EVERY = 10  # random faults
MAX_ERROR = 1000  # characters printed; all of it is in the logs


class Runner:
    def __init__(self, options: argparse.Namespace, logs: pathlib.Path):
        self._options = options
        self._logs = logs
        self._trials = 0
        self.failed = 0
        self.passed = 0
        self.longest_gap_ms = 0

    def run_cases(self, cases: list[Case]) -> None:
        """A trial that a failed case may have left in disorder is replaced by a fresh one."""
        waiting = list(cases)
        while waiting:
            with self._trial() as trial:
                while waiting and self._run_one(trial, waiting.pop(0)):
                    pass

    def run_random(self, count: int, seed: int) -> None:
        print(f"{count} random faults, --seed {seed}", flush=True)
        generator = random.Random(seed)
        with self._trial() as trial:
            for number in range(1, count + 1):
                compare = number % COMPARE_EVERY == 0 or number == count
                case = Case(f"random fault {number}", lambda trial: random_fault(trial, generator, not self._options.no_etcd))
                if not self._run_one(trial, case, compare):
                    return

    def _trial(self) -> Trial:
        folder = self._logs / f"cluster{self._trials}"
        folder.mkdir()
        self._trials += 1
        return Trial(folder, self._options.bin, etcd=not self._options.no_etcd)

    def _run_one(self, trial: Trial, case: Case, compare: bool = True) -> bool:
        """Whether the trial is fit for another case."""
        started = time.monotonic()
        try:
            trial.workload.start()
            trial.workload.progress()
            done = case.run(trial)
            trial.volume.repair_until_healthy()
            transferred, partial = trial.volume.rebuilt_blocks()
            trial.finish()
            if compare:
                trial.compare_replicas()
        except Exception as error:  # whatever went wrong is this case's failure
            self.failed += 1
            text = str(error)
            if len(text) > MAX_ERROR:
                text = f"{text[:MAX_ERROR // 2]}\n  ...\n{text[-MAX_ERROR // 2:]}"
            print(f"FAIL  {case.name}: {type(error).__name__}: {text}\n      {trial.volume.describe()}", flush=True)
            (self._logs / "errors").open("a").write(f"{case.name}\n{traceback.format_exc()}\n")
            return False
        self.passed += 1
        gap = trial.workload.longest_gap_ms
        self.longest_gap_ms = max(self.longest_gap_ms, gap)
        print(f"ok    {done or case.name:34} longest gap {gap / 1000:6.2f} s, {trial.workload.acknowledged:5} writes acknowledged, "
              f"rebuilt {transferred * 512 / (1 << 20):6.1f} MiB ({partial} partial), {time.monotonic() - started:5.1f} s", flush=True)
        return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", nargs="*", help="names, or parts of them; all when none is given")
    parser.add_argument("--quick", action="store_true", help="the selection of `make test`")
    parser.add_argument("--random", type=int, metavar="N", help="N random faults in a row instead of the cases")
    parser.add_argument("--seed", type=int, help="of the random faults; chosen when not given")
    parser.add_argument("--no-etcd", action="store_true", help="keep the health of children in files")
    parser.add_argument("--bin", type=pathlib.Path, default=BINARIES, help="folder of io-engine, io-engine-client and initiator")
    parser.add_argument("--keep-logs", action="store_true", help="also of what passed")
    parser.add_argument("--list", action="store_true", help="print the cases and end")
    options = parser.parse_args()
    cases = [case for case in all_cases() if (case.quick or not options.quick) and not (case.needs_etcd and options.no_etcd)
             and (not options.case or any(part in case.name for part in options.case))]
    if options.list:
        print("\n".join(case.name for case in cases))
        return 0
    if reason := network.why_not():
        print(f"skipped: {reason}")
        return 0
    logs = pathlib.Path(tempfile.mkdtemp(prefix="cairn-volumes-"))
    runner = Runner(options, logs)
    if options.random:
        runner.run_random(options.random, options.seed if options.seed is not None else random.randrange(1 << 32))
    else:
        runner.run_cases(cases)
    if runner.failed or options.keep_logs:
        print(f"logs: {logs}")
    else:
        shutil.rmtree(logs)
    print(f"{runner.passed} passed, {runner.failed} failed; longest gap {runner.longest_gap_ms / 1000:.2f} s")
    return 1 if runner.failed else 0


if __name__ == "__main__":
    sys.exit(main())
