#!/usr/bin/env python3
"""Checks that sources include only what their layer may use (the table in cmake/CairnTargets.cmake)."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCES = ROOT / "src"


def allowed_uses() -> dict[str, set[str]]:
    table = {}
    for line in (ROOT / "cmake/CairnTargets.cmake").read_text().splitlines():
        if match := re.match(r"set\(CAIRN_MAY_USE_(\w+) (.*)\)", line):
            table[match[1]] = set(match[2].replace('"', "").split())
    return table


def layer_of(path: str, layers: set[str]) -> str | None:
    """The layer of a path relative to src/: the longest folder name that is one ("nvmf/target/x.h" -> nvmf_target)."""
    parts = path.split("/")[:-1]
    for length in range(len(parts), 0, -1):
        name = "_".join(parts[:length])
        if name in layers:
            return name
    return None


def main() -> int:
    uses = allowed_uses()
    layers = set(uses)
    problems = []
    for source in sorted(SOURCES.rglob("*")):
        if source.suffix not in (".h", ".cc"):
            continue
        relative = str(source.relative_to(SOURCES))
        layer = layer_of(relative, layers)
        if layer is None:
            problems.append(f"src/{relative}: belongs to no layer")
            continue
        # Tests and what only they use: x_test.cc, test_x.h, sim_x.cc (simulated sites).
        is_test = source.stem.endswith("_test") or source.stem.startswith(("test_", "sim_"))
        for number, line in enumerate(source.read_text().splitlines(), 1):
            if not (match := re.match(r'#include "([^"]+)"', line)):
                continue
            included = layer_of(match[1], layers)
            if included is None or included == layer or included in uses[layer]:
                continue
            if is_test and included == "runtime_sim":
                continue  # tests of every layer may run in the simulator
            problems.append(f"src/{relative}:{number}: src/{layer} may not include {match[1]} (layer {included})")
    print("\n".join(problems) if problems else f"{len(layers)} layers in order")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
