"""A benchmark as a program: its options, and where its results are kept."""

import argparse
import json
import pathlib
from typing import Callable

from bench_engine import BINARIES


def arguments(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--bin", type=pathlib.Path, default=BINARIES, help="folder of the programs")
    parser.add_argument("--json", type=pathlib.Path, help="also write the results to this file")
    return parser


def keep(path: pathlib.Path | None, results: dict) -> None:
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(results, indent=2) + "\n")


def main(doc: str, run: Callable, show: Callable, *add_options: Callable[[argparse.ArgumentParser], None]) -> None:
    """Runs one benchmark. `doc` is the text of its module, `add_options` add what its run() reads."""
    parser = arguments(doc.splitlines()[0])
    for add in add_options:
        add(parser)
    options = parser.parse_args()
    result = run(options)
    print(show(result))
    keep(options.json, result)
