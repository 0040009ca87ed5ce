#!/usr/bin/env python3
"""What an engine that has nothing to do costs: processor time and memory with hosts that only keep alive.

Default options, 16 hosts with an admin and two I/O queues each, a keep-alive every 2.5 s, for 30 s. A measurement: it
prints what it saw beside the goal and ends with 0 either way.
"""

import asyncio
import os
import time

import bench_engine
import benchmark
from nvme_tcp_host import Controller

HOSTS = 16
IO_QUEUES = 2
KEEP_ALIVE_TIMEOUT_MS = 5000
DURATION_S = 30
GOAL_CPU_PERCENT = 1.0
GOAL_MEMORY_MIB = 150


async def measure(engine: bench_engine.Engine, nqn: str, duration_s: float) -> dict:
    hosts = []
    for number in range(HOSTS):
        host = await Controller.connect("127.0.0.1", engine.port, nqn, number=number, io_queues=IO_QUEUES, entries=128,
                                        kato_ms=KEEP_ALIVE_TIMEOUT_MS)
        for queue in range(IO_QUEUES):
            await host.write(0, os.urandom(4096), queue=queue)
        hosts.append(host)
    cpu, started = engine.cpu_seconds(), time.monotonic()
    await asyncio.sleep(duration_s)  # the subject of the measurement
    used, elapsed = engine.cpu_seconds() - cpu, time.monotonic() - started
    memory = engine.resident_bytes()
    if any(pair.ended.is_set() for host in hosts for pair in host.queue_pairs):
        raise SystemExit("a host lost its connection: nothing was measured")
    for host in hosts:
        await host.close()
    return {"benchmark": "idle", "hosts": HOSTS, "queue_pairs": HOSTS * (1 + IO_QUEUES), "seconds": round(elapsed, 2),
            "cpu_percent": round(100 * used / elapsed, 3), "cpu_percent_goal": GOAL_CPU_PERCENT,
            "resident_mib": round(memory / (1 << 20), 1), "resident_mib_goal": GOAL_MEMORY_MIB}


def show(result: dict) -> str:
    def verdict(value: float, goal: float) -> str:
        return "met" if value < goal else "MISSED"
    cpu, memory = result["cpu_percent"], result["resident_mib"]
    return bench_engine.table(
        (f"idle, {result['hosts']} hosts, {result['queue_pairs']} queue pairs, {result['seconds']:.0f} s", "seen", "goal", ""),
        [("processor, % of one core", f"{cpu:.2f}", f"< {GOAL_CPU_PERCENT:.0f}", verdict(cpu, GOAL_CPU_PERCENT)),
         ("resident memory, MiB", f"{memory:.1f}", f"< {GOAL_MEMORY_MIB}", verdict(memory, GOAL_MEMORY_MIB))])


def run(options) -> dict:
    with bench_engine.folder() as folder, bench_engine.engine(options.bin, folder) as engine:
        nqn = engine.create_and_share("malloc:///idle?size_mb=64")
        result = asyncio.run(measure(engine, nqn, options.idle_seconds))
        engine.stop()
    return result


def add_options(parser) -> None:
    parser.add_argument("--idle-seconds", type=float, default=DURATION_S)


if __name__ == "__main__":
    benchmark.main(__doc__, run, show, add_options)
