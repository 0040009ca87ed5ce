#!/usr/bin/env python3
"""Every benchmark there is; tables on standard output, results under build/bench/<time>/ as JSON.

A benchmark is a module with run(options) -> dict | None and show(result) -> str; it is added by naming it below. What a
peer needs is told by the environment (target_iops.py, initiator_iops.py); without it there are figures but no ratios.
"""

import os
import pathlib
import sys
import time

import benchmark
import file_iops
import first_writes
import idle
import initiator_iops
import nexus_iops
import nexus_rebuild
import pool_import
import replica_iops
import sides
import target_iops

RESULTS = pathlib.Path(__file__).resolve().parents[2] / "build/bench"
BENCHMARKS = {"target_iops": target_iops, "initiator_iops": initiator_iops, "file_iops": file_iops,
              "replica_iops": replica_iops, "first_writes": first_writes, "pool_import": pool_import,
              "nexus_iops": nexus_iops, "nexus_rebuild": nexus_rebuild, "idle": idle}


def main() -> int:
    parser = benchmark.arguments(__doc__)
    sides.add_options(parser)
    file_iops.add_options(parser)
    replica_iops.add_options(parser)
    first_writes.add_options(parser)
    nexus_iops.add_options(parser)
    idle.add_options(parser)
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, default=list(BENCHMARKS), help="some of them")
    parser.add_argument("--nice", type=int, default=0, help="priority of everything that is measured; below 0 as root")
    options = parser.parse_args()
    if options.nice:
        os.setpriority(os.PRIO_PROCESS, 0, options.nice)
    into = RESULTS / time.strftime("%Y%m%dT%H%M%S")

    results = {}
    for name in options.only:
        module = BENCHMARKS[name]
        results[name] = module.run(options)
        print(getattr(module, "show", sides.show)(results[name]) + "\n", flush=True)
        if results[name]:
            benchmark.keep(into / f"{name}.json", results[name])
    benchmark.keep(options.json, results)
    print(f"kept in {into}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
