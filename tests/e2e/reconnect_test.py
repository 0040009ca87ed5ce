"""The initiator over real sockets while its target is away for five seconds: casperf notices nothing but time, and finds
what it wrote."""

import asyncio
import json
import unittest
import urllib.parse

from engine_case import BIN, TIME_FACTOR, Engine, EngineCase, settled

BEFORE_S, AWAY_S, LOAD_S = 2, 5, 10
DEVICE_BYTES = 32 << 20


class ReconnectTest(EngineCase):
    def share(self, engine: Engine, parameters: str) -> str:
        """The URI for the initiator. The device is a file: it outlives the engine."""
        disk = self.folder / "disk"
        if not disk.exists():
            disk.write_bytes(bytes(DEVICE_BYTES))
        nqn = engine.create_and_share(f"aio://{disk}?blk_size=4096&uuid=9bd4c0c5-6f1b-4a55-9b0e-0d6f0a1b2c3d")
        return (f"nvmf://127.0.0.1:{engine.port}/{urllib.parse.quote(nqn, safe=':')}?retry_window_ms=60000&"
                f"{parameters}")

    async def start_load(self, engine: Engine, uri: str) -> asyncio.subprocess.Process:
        load = await asyncio.create_subprocess_exec(
            BIN / "casperf", "-t", "randrw", "-b", "4096", "-q", "16", "-d", f"{LOAD_S}s", "--verify", "-o", "json",
            "--quiet", "--spin-budget", "50us", "-l", "0", uri,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
        await settled("casperf connects", lambda: "connected to" in engine.log_path.read_text(errors="replace"))
        await asyncio.sleep(BEFORE_S)
        return load

    async def finish(self, load: asyncio.subprocess.Process) -> None:
        out, err = await asyncio.wait_for(load.communicate(), 120 * TIME_FACTOR)
        self.assertEqual(load.returncode, 0, f"{out.decode()}\n{err.decode()}")
        json.loads(out)

    async def test_killed_and_started_again(self) -> None:
        with self.new_engine() as engine:
            load = await self.start_load(engine, self.share(engine, ""))
            engine.kill()
            await asyncio.sleep(AWAY_S)
            self.assertIsNone(load.returncode)
            engine.start()
            self.share(engine, "")
            await self.finish(load)

    async def check_stopped_and_continued(self, parameters: str) -> None:
        with self.new_engine() as engine:
            load = await self.start_load(engine, self.share(engine, parameters))
            engine.freeze()
            await asyncio.sleep(AWAY_S)
            self.assertIsNone(load.returncode)
            engine.thaw()
            await self.finish(load)

    async def test_stopped_and_continued(self) -> None:
        await self.check_stopped_and_continued("")

    async def test_stopped_and_continued_with_digests_after_time_outs(self) -> None:
        await self.check_stopped_and_continued("io_timeout_ms=1000&admin_timeout_ms=1000&hdgst=1&ddgst=1")


if __name__ == "__main__":
    unittest.main()
