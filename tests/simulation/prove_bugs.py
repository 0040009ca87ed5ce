#!/usr/bin/env python3
"""Shows that the cluster simulation finds bugs: switches on each seeded bug in turn and runs seeds until one fails.

Needs a build with -DCAIRN_SEEDED_BUGS=ON (cmake --preset seeded-bugs). Prints the table of docs/simulation.md; fails
when a bug stays hidden for all seeds. With --scene all runs consist of that scene. That seeds do not fail without a bug
is for cairn-sim to show.
"""

import argparse
import re
import subprocess
import sys

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--sim", default="build/seeded-bugs/bin/cairn-sim")
parser.add_argument("--seeds", type=int, default=1000)
parser.add_argument("--jobs", type=int, default=2)
parser.add_argument("--scene", help="no faults but this scene")
parser.add_argument("bugs", nargs="*", help="only these")
arguments = parser.parse_args()


def campaign(bug: str | None) -> tuple[int, int | None, str]:
    """Seeds that were run, the first that failed, and what it said."""
    command = [arguments.sim, "--seeds", str(arguments.seeds), "--jobs", str(arguments.jobs), "--quiet"]
    if arguments.scene:
        command += ["--scene", arguments.scene]
    if bug:
        command += ["--bug", bug]
    output = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    summary = re.search(r"^(\d+) seeds from", output, re.M)
    failed = re.search(r"^failed: cairn-sim --seed (\d+)\s+(.*)$", output, re.M)
    if failed:
        return int(summary[1]), int(failed[1]), failed[2]
    return int(summary[1]) if summary else 0, None, ""


bugs = arguments.bugs or subprocess.run(
    [arguments.sim, "--bug", "list"], capture_output=True, text=True, check=False).stdout.split()
hidden = []
print("| Bug | Seed | What is found |")
print("|---|---|---|")
for name in bugs:
    count, seed, what = campaign(name)
    if seed is None:
        hidden.append(name)
    print(f"| `{name}` | {seed if seed is not None else 'none'} | {what or f'nothing in {count} seeds'} |", flush=True)
print(f"{len(bugs) - len(hidden)} of {len(bugs)} bugs found", file=sys.stderr)
sys.exit(1 if hidden else 0)
