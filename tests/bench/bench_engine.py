"""What the benchmarks share: the engine under measurement, and how results are shown."""

import pathlib
import statistics
import sys
import tempfile
from typing import Sequence

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path.extend([str(TESTS / "harness"), str(TESTS / "e2e")])

from engine_process import BINARIES, Engine  # noqa: E402

__all__ = ["BINARIES", "Engine", "engine", "folder", "median_and_spread", "table"]


def engine(binaries: pathlib.Path, folder: str, *options: str, environment: dict[str, str] | None = None) -> Engine:
    return Engine(binaries.resolve() / "io-engine", binaries.resolve() / "io-engine-client", pathlib.Path(folder), options,
                  environment)


def folder(parent: pathlib.Path | None = None) -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="cairn-bench-", dir=parent)


def median_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """The spread is (largest - smallest) / median."""
    median = statistics.median(values)
    return median, (max(values) - min(values)) / median if median else 0.0


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    return "\n".join("  ".join(cell.ljust(width) if column == 0 else cell.rjust(width)
                               for column, (cell, width) in enumerate(zip(row, widths))) for row in (header, *rows))
