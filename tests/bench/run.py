#!/usr/bin/env python3
"""Every benchmark there is; tables on standard output, results under build/bench/<time>/ as JSON."""

import pathlib
import sys
import time

import bench_engine
import idle
import target_iops

RESULTS = pathlib.Path(__file__).resolve().parents[2] / "build/bench"


def main() -> int:
    parser = bench_engine.arguments(__doc__)
    target_iops.add_options(parser)
    parser.add_argument("--idle-seconds", type=float, default=idle.DURATION_S)
    options = parser.parse_args()
    into = RESULTS / time.strftime("%Y%m%dT%H%M%S")

    load = target_iops.run(options)
    print(target_iops.show(load), flush=True)
    if load:
        bench_engine.keep(into / "target_iops.json", load)
    options.seconds = options.idle_seconds
    rest = idle.run(options)
    print("\n" + idle.show(rest))
    bench_engine.keep(into / "idle.json", rest)
    bench_engine.keep(options.json, {"target_iops": load, "idle": rest})
    print(f"\nkept in {into}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
