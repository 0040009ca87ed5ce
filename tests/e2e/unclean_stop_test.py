"""kill -9 of an engine whose nexus has writes under way: the next nexus makes equal what was in flight, and nothing more.

Three engines, a volume of 10 GiB, 1 GiB written to it; then writers that each go over a small place of their own, again and
again; then the kill, while one child stands still. The next nexus has a UUID of its own, as control planes give one.
"""

import json
import os
import re
import subprocess
import time
import unittest
import uuid

from engine_case import BIN, TIME_FACTOR, Engine, EngineCase, settled

MIB = 1 << 20
GIB = 1 << 30
VOLUME_GIB = 10
NQN = "nqn.2019-05.io.openebs:"
NAME = str(uuid.uuid4())  # of the volume
DATA_OFFSET = 5 * MIB  # of the volume on a child
REGION = 4 * MIB

WRITERS = 4
FIRST_PART = 256 * MIB  # of each writer: 1 GiB in all
PLACE = 8 * MIB  # that each writer goes over
SPACING = VOLUME_GIB * GIB // WRITERS
# Regions that a writer may touch at a time; its place is not aligned to them.
REGIONS_IN_FLIGHT = WRITERS * (PLACE // REGION + 1)
# Longer than an intent that nobody needs stays in the log.
QUIET_S = 10 * TIME_FACTOR


class UncleanStop(EngineCase):
    def setUp(self) -> None:
        super().setUp()
        self.records = self.folder / "records"
        self.records.mkdir()
        self.engines = [self.engine("-N", f"node{number}", "--child-health-dir", str(self.records)) for number in range(3)]
        self.replicas = [str(uuid.uuid4()) for _ in self.engines]
        for number, engine in enumerate(self.engines):
            with self.disk(number).open("wb") as file:
                file.truncate((VOLUME_GIB + 1) * GIB)
            self.open_pool(number)
            engine.client("replica", "create", self.replicas[number], self.replicas[number], f"pool{number}", "--size",
                          f"{VOLUME_GIB * GIB + 8 * MIB}", "--thin")
        self.writers: list[subprocess.Popen] = []
        self.addCleanup(self.end_writers)

    def disk(self, number: int):
        return self.folder / f"disk{number}"

    def open_pool(self, number: int) -> None:
        self.engines[number].client("pool", "create", f"pool{number}", str(self.disk(number)), "--cluster-size", "1MiB")

    def create_nexus(self) -> str:
        """Of all three replicas; its UUID."""
        identity = str(uuid.uuid4())
        children = [f"bdev:///{self.replicas[0]}?uuid={self.replicas[0]}"]
        for engine, replica in list(zip(self.engines, self.replicas))[1:]:
            children.append(engine.client("replica", "share", replica, "nvmf").strip())
        self.engines[0].client("nexus", "create", identity, f"{VOLUME_GIB}GiB", *children, "--name", NAME)
        self.engines[0].client("nexus", "publish", identity)
        return identity

    def uri(self, engine: Engine, name: str) -> str:
        return f"nvmf://127.0.0.1:{engine.port}/{NQN}{name}"

    def start_writer(self, offset: int, path: str) -> subprocess.Popen:
        writer = subprocess.Popen([BIN / "initiator", "-o", str(offset), self.uri(self.engines[0], NAME), "write", path],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.writers.append(writer)
        return writer

    def end_writers(self) -> None:
        for writer in self.writers:
            writer.kill()
            writer.wait()

    def read(self, engine: Engine, name: str, offset: int, length: int) -> bytes:
        path = self.folder / "content"
        result = subprocess.run([BIN / "initiator", "-o", str(offset), self.uri(engine, name), "read", path, "-l", str(length)],
                                capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result.stderr)
        return path.read_bytes()

    def bytes_written(self, number: int) -> int:
        (replica,) = json.loads(self.engines[number].client("-o", "json", "stats", "replica", self.replicas[number]))["stats"]
        return int(replica["stats"]["bytes_written"])

    def logged(self, pattern: str) -> list[tuple[str, ...]]:
        return re.findall(pattern, self.engines[0].log_path.read_text())

    async def test_resynchronises_what_was_in_flight(self) -> None:
        self.create_nexus()
        for number in range(WRITERS):
            (self.folder / f"part{number}").write_bytes(os.urandom(FIRST_PART))
            (self.folder / f"place{number}").write_bytes(os.urandom(PLACE))
        first = [self.start_writer(number * SPACING, self.folder / f"part{number}") for number in range(WRITERS)]
        self.assertEqual([writer.wait() for writer in first], [0] * WRITERS)

        # From now on only the places are written; what was written before is forgotten by the log.
        rounds = 0
        end = time.monotonic() + QUIET_S
        while time.monotonic() < end or rounds < 3:
            running = [self.start_writer(number * SPACING + MIB, self.folder / f"place{number}") for number in range(WRITERS)]
            self.assertEqual([writer.wait() for writer in running], [0] * WRITERS)
            rounds += 1
        # One child stands still: what is sent to the others is missing there when the nexus dies.
        for number in range(WRITERS):
            (self.folder / f"last{number}").write_bytes(os.urandom(PLACE))
        self.engines[2].freeze()
        written = self.bytes_written(1)
        for number in range(WRITERS):
            self.start_writer(number * SPACING + MIB, self.folder / f"last{number}")
        await settled("writes reach a child", lambda: self.bytes_written(1) > written)
        self.engines[0].kill()
        self.end_writers()
        self.engines[2].thaw()

        self.engines[0].start()
        self.open_pool(0)
        nexus = self.create_nexus()
        await settled("the resynchronisation is over", lambda: self.logged("resynchronised, ") or self.logged(" 0 of .* to be resynchronised"),
                      self.engines[0].log_tail)
        (regions, of_regions) = self.logged(r"(\d+) of (\d+) regions to be resynchronised")[-1]
        (differed, looked_at) = self.logged(r"resynchronised, (\d+) of (\d+) segments differed")[-1]
        print(f"\n1 GiB written to {VOLUME_GIB} GiB, killed with writes under way: {regions} of {of_regions} regions "
              f"({int(regions) * REGION // MIB} MiB) looked at, {differed} of {looked_at} segments of 64 KiB differed")
        self.assertGreater(int(regions), 0)
        self.assertLessEqual(int(regions), REGIONS_IN_FLIGHT)
        self.assertGreater(int(differed), 0)

        self.engines[0].client("nexus", "destroy", nexus)
        self.engines[0].client("replica", "share", self.replicas[0], "nvmf")
        for number in range(WRITERS):
            contents = [self.read(engine, replica, DATA_OFFSET + number * SPACING, FIRST_PART)
                        for engine, replica in zip(self.engines, self.replicas)]
            self.assertTrue(contents[0] == contents[1] == contents[2], f"what writer {number} wrote is the same on all children")
            self.assertEqual(contents[0][MIB + PLACE:], (self.folder / f"part{number}").read_bytes()[MIB + PLACE:])


if __name__ == "__main__":
    unittest.main()
