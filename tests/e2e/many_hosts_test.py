#!/usr/bin/env python3
"""Hosts that connect, do I/O and vanish at random, many at a time: nothing is left of them.

The suite runs 32 hosts for 10 s; `many_hosts_test.py --full` 256 for a minute. CAIRN_SEED replays the hosts' choices
(not their timing).
"""

import asyncio
import collections
import contextlib
import os
import random
import sys
import time
import unittest

from engine_case import SETTLE_TIMEOUT_S, Engine, EngineCase
from nvme_tcp_host import Controller, HostError, RawConnection

HOSTS = 32
DURATION_S = 10.0
SESSIONS_PER_HOST = 4  # at least, however slow the machine
FULL_HOSTS = 256
FULL_DURATION_S = 60.0
# What a process that has had that many connections may keep: its allocator's arenas, not what a connection holds
# (about 200 KiB of slots each). Sanitizers keep freed memory in quarantine on purpose.
MEMORY_TOLERANCE_BYTES = 16 << 20
SANITIZED = float(os.environ.get("CAIRN_TIME_FACTOR", "1")) > 1
KEEP_ALIVE_MS = 10000  # the shortest that the target takes; one is sent after half of it
FULL_KEEP_ALIVE_MS = 60000  # so many hosts share one process here, which a busy machine may starve for 10 s


class ManyHosts(EngineCase):
    async def test_hosts_that_come_and_go(self) -> None:
        engine = self.engine("-l", "0,1")
        nqn = engine.create_and_share("malloc:///m0?size_mb=64")
        await self.one_healthy_host(engine, nqn)
        # Warm: what the engine allocates once is allocated now.
        await self.run_hosts(engine, nqn, HOSTS, 1.0)
        descriptors, memory = engine.descriptors(), await self.stable_memory(engine)

        done = await self.run_hosts(engine, nqn, HOSTS, DURATION_S)
        await self.expect_descriptors(engine, descriptors)
        await self.one_healthy_host(engine, nqn)
        grown = await self.stable_memory(engine) - memory
        print(f"{HOSTS} hosts, {DURATION_S:.0f} s: {dict(done)}; descriptors back to {descriptors}, memory "
              f"{memory / (1 << 20):.1f} MiB {grown / (1 << 20):+.1f} MiB", file=sys.stderr)
        self.assertGreaterEqual(done["sessions"], SESSIONS_PER_HOST * HOSTS)
        if not SANITIZED:
            self.assertLess(grown, MEMORY_TOLERANCE_BYTES)

    async def stable_memory(self, engine: Engine) -> int:
        """Resident memory when it has not changed over ten looks."""
        deadline = time.monotonic() + SETTLE_TIMEOUT_S
        last, same = engine.resident_bytes(), 0
        while same < 10 and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
            now = engine.resident_bytes()
            same = same + 1 if now == last else 0
            last = now
        return last

    async def one_healthy_host(self, engine: Engine, nqn: str) -> None:
        host = await Controller.connect("127.0.0.1", engine.port, nqn, number=1000, io_queues=4)
        for queue in range(4):
            block = os.urandom(4096)
            await host.write(queue * 8, block, queue=queue)
            self.assertEqual(await host.read(queue * 8, 8, queue=queue), block)
        await host.close()

    async def run_hosts(self, engine: Engine, nqn: str, hosts: int, duration_s: float) -> collections.Counter:
        """Until nothing is left of the hosts; the keep-alive timer ends those that fell silent."""
        seed = int(os.environ.get("CAIRN_SEED", "1"))
        done: collections.Counter = collections.Counter()
        silent: list[Controller] = []
        end = time.monotonic() + duration_s
        tasks = [asyncio.create_task(self.live(engine, nqn, number, hosts,
                                               random.Random(seed * 100003 + number), end, done, silent))
                 for number in range(hosts)]
        try:
            await asyncio.gather(*tasks)
            await self.expect_no_controllers(engine, SETTLE_TIMEOUT_S + KEEP_ALIVE_MS / 1000)
        finally:
            for task in tasks:
                task.cancel()
            for host in silent:
                host.reset()
        return done

    async def live(self, engine: Engine, nqn: str, number: int, hosts: int, chance: random.Random, end: float,
                   done: collections.Counter, silent: list) -> None:
        while time.monotonic() < end or done["sessions"] < SESSIONS_PER_HOST * hosts:
            if chance.random() < 0.05:
                await self.knock(engine, chance)
                done["knocks"] += 1
                continue
            try:
                host = await Controller.connect("127.0.0.1", engine.port, nqn, number=number,
                                                io_queues=chance.randrange(1, 5), kato_ms=KEEP_ALIVE_MS,
                                                digests=chance.choice([0, 0, 0, 1]))
            except HostError as error:
                done[f"connect: {type(error).__name__}"] += 1
                raise
            done["sessions"] += 1
            await self.work(host, number, chance, done)
            await self.leave(host, chance, done, silent)

    @staticmethod
    async def knock(engine: Engine, chance: random.Random) -> None:
        """A connection that never gets to be a queue."""
        connection = await RawConnection.open("127.0.0.1", engine.port)
        if chance.random() < 0.5:
            await connection.initialize()
        if chance.random() < 0.5:
            connection.reset()
        else:
            await connection.close()

    @staticmethod
    async def work(host: Controller, number: int, chance: random.Random, done: collections.Counter) -> None:
        # Blocks of its own; the first ones are everybody's, for writes that nobody waits for.
        first = (1 + number) * 128
        for _ in range(chance.randrange(0, 12)):
            queue = chance.randrange(len(host.io))
            blocks = chance.choice([1, 8, 64])
            data = chance.randbytes(blocks * host.block_size)
            await host.write(first, data, queue=queue, by_r2t=chance.choice([True, None]))
            if await host.read(first, blocks, queue=queue) != data:
                raise AssertionError(f"host {number} read something else than it wrote")
            done["ios"] += 2

    @staticmethod
    async def leave(host: Controller, chance: random.Random, done: collections.Counter, silent: list) -> None:
        way = chance.choice(["close", "reset", "reset with I/O", "close with I/O", "queue by queue", "half an R2T", "silence"])
        done[way] += 1
        data = bytes(64 * 512)
        if way == "silence" and len(silent) < 64:
            host.stop_keep_alive()
            silent.append(host)
            return
        if way == "half an R2T":
            host.io[0].answer_r2t = lambda *_: None
        tasks = []
        if way in ("reset with I/O", "close with I/O", "half an R2T"):
            tasks = [asyncio.create_task(host.write(0 if way != "half an R2T" else 64, data[:512] if each % 2 else data,
                                                    queue=each % len(host.io))) for each in range(20)]
            await asyncio.sleep(0)  # they are sent
        if way in ("close", "close with I/O"):
            with contextlib.suppress(HostError):
                await host.close()
        elif way == "queue by queue":
            for pair in chance.sample(host.queue_pairs, len(host.queue_pairs)):
                pair.reset()
            host.reset()
        else:
            host.reset()
        await asyncio.gather(*tasks, return_exceptions=True)


if __name__ == "__main__":
    if "--full" in sys.argv:
        sys.argv.remove("--full")
        HOSTS, DURATION_S, KEEP_ALIVE_MS = FULL_HOSTS, FULL_DURATION_S, FULL_KEEP_ALIVE_MS
    unittest.main()
