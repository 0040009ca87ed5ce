#!/usr/bin/env python3
"""Runs the scenarios: one boot of each kernel, every scenario in it with an engine of its own on the host.

Exit code 0 when all passed. The logs of a run with failures are kept; their folder is printed.
"""

import argparse
import contextlib
import importlib
import pathlib
import re
import shutil
import sys
import tempfile
import time
import traceback

from engine import BINARIES
from guest import BOOT_TIMEOUT_S, Guest, GuestError
from image import KERNELS
from nvme_host import NvmeHost
from scenario import SCENARIOS, Rig, Scenario

HERE = pathlib.Path(__file__).resolve().parent

GUEST_CPUS = 4  # Linux opens no more I/O queues than it has processors

# What a healthy kernel never says. Lost and refused connections are part of the scenarios and do not count.
KERNEL_COMPLAINTS = re.compile(r"BUG:|WARNING:|Oops|Call Trace|blocked for more than|I/O error")


class Runner:
    def __init__(self, options: argparse.Namespace, logs: pathlib.Path):
        self._options = options
        self._logs = logs
        self.passed = 0
        self.failed = 0

    def run_all(self, kernel: str, scenarios: list[Scenario]) -> None:
        """A guest that a failed scenario may have left in disorder is replaced by a fresh one."""
        waiting = list(scenarios)
        while waiting:
            try:
                with Guest(kernel, cpus=GUEST_CPUS, logs=self._logs) as guest:
                    print(f"Linux {guest.version} booted in {guest.boot_seconds:.1f} s", flush=True)
                    while waiting and self._run_one(guest, waiting.pop(0)):
                        pass
            except GuestError as error:
                self._report(kernel, waiting.pop(0).name, BOOT_TIMEOUT_S, str(error))

    def _run_one(self, guest: Guest, scenario: Scenario) -> bool:
        """Whether the guest is fit for another."""
        folder = self._logs / f"{guest.kernel}-{scenario.name}"
        folder.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        error = self._error_of(guest, scenario, folder)
        self._report(guest.kernel, scenario.name, time.monotonic() - started, error)
        if not error and not self._options.keep_logs:
            shutil.rmtree(folder)
        return error is None

    def _error_of(self, guest: Guest, scenario: Scenario, folder: pathlib.Path) -> str | None:
        try:
            host = NvmeHost(guest)
            rig = Rig(guest, host, folder, self._options.engine, self._options.client)
            guest.check("dmesg -c >/dev/null")
            scenario.run(rig)
            host.disconnect_all()
            if complaint := KERNEL_COMPLAINTS.search(guest.kernel_log()):
                return f"the kernel's log contains \"{complaint[0]}\"; {_kernel_log(guest, folder)}"
            return None
        except Exception as error:  # whatever went wrong is this scenario's failure
            (folder / "error").write_text(traceback.format_exc())
            return f"{type(error).__name__}: {error}\n{_kernel_log(guest, folder)}"

    def _report(self, kernel: str, name: str, seconds: float, error: str | None) -> None:
        if error is None:
            self.passed += 1
        else:
            self.failed += 1
        print(f"{'FAIL' if error else 'ok':4}  {kernel:5} {name:24} {seconds:5.1f} s", flush=True)
        if error:
            print("      " + error.rstrip().replace("\n", "\n      "), flush=True)


def _kernel_log(guest: Guest, folder: pathlib.Path) -> str:
    with contextlib.suppress(GuestError):
        log = guest.kernel_log()
        (folder / "dmesg").write_text(log)
        return "last lines of the kernel's log:\n" + "\n".join(log.splitlines()[-15:])
    return "the guest does not answer any more"


def _load_scenarios() -> None:
    sys.path.insert(0, str(HERE / "scenarios"))
    for path in sorted((HERE / "scenarios").glob("*.py")):
        importlib.import_module(path.stem)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenario", nargs="*", help="names; all when none is given")
    parser.add_argument("--kernel", choices=[*KERNELS, "all"], default="all")
    parser.add_argument("--quick", action="store_true", help="the selection for every build, two to three minutes")
    parser.add_argument("--engine", type=pathlib.Path, default=BINARIES / "io-engine")
    parser.add_argument("--client", type=pathlib.Path, default=BINARIES / "io-engine-client")
    parser.add_argument("--keep-logs", action="store_true", help="also of what passed")
    parser.add_argument("--list", action="store_true", help="print the scenarios and end")
    options = parser.parse_args(arguments)
    known = [entry.name for entry in SCENARIOS]
    if unknown := set(options.scenario) - set(known):
        parser.error(f"no scenario called {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    return options


def _selected(options: argparse.Namespace, kernel: str) -> list[Scenario]:
    wanted = [entry for entry in SCENARIOS if not options.scenario or entry.name in options.scenario]
    return [entry for entry in wanted if not options.quick or kernel in entry.quick_on]


def main(arguments: list[str]) -> int:
    _load_scenarios()
    options = _parse(arguments)
    kernels = list(KERNELS) if options.kernel == "all" else [options.kernel]
    plan = {kernel: _selected(options, kernel) for kernel in kernels}
    if options.list:
        for kernel, scenarios in plan.items():
            print(f"{kernel}: {' '.join(entry.name for entry in scenarios)}")
        return 0
    for program in (options.engine, options.client):
        needed = any(entry.needs_engine for entries in plan.values() for entry in entries)
        if needed and not program.is_file():
            print(f"{program} does not exist: build it, or name another with --engine and --client", file=sys.stderr)
            return 2

    logs = pathlib.Path(tempfile.mkdtemp(prefix="cairn-vm-"))
    runner = Runner(options, logs)
    for kernel, scenarios in plan.items():
        runner.run_all(kernel, scenarios)
    if runner.failed or options.keep_logs:
        print(f"logs: {logs}")
    else:
        shutil.rmtree(logs)
    print(f"{runner.passed} passed, {runner.failed} failed")
    return 1 if runner.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
