"""What every test of the process ring starts from: engines that are checked at their end.

The environment names the programs (CMake sets it): CAIRN_BIN is the folder of io-engine, io-engine-client and jsonrpc;
CAIRN_TIME_FACTOR stretches time-outs where programs are slow.
"""

import asyncio
import logging
import os
import pathlib
import sys
import tempfile
import time
import unittest
from typing import Callable

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "harness"))

from engine_process import BINARIES, TIME_FACTOR, Engine, EngineError  # noqa: E402

BIN = pathlib.Path(os.environ.get("CAIRN_BIN", BINARIES))
SETTLE_TIMEOUT_S = 30 * TIME_FACTOR

logging.getLogger("asyncio").setLevel(logging.ERROR)  # slow callbacks are the machine's load

__all__ = ["BIN", "TIME_FACTOR", "Engine", "EngineCase", "EngineError", "SETTLE_TIMEOUT_S", "settled"]


async def settled(what: str, condition: Callable[[], bool], state: Callable[[], object] = lambda: "",
                  timeout_s: float = SETTLE_TIMEOUT_S) -> None:
    """Waits until the condition holds; it is looked at often. An error tells what it was and the state at the end."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s: {what}; {state()}")
        await asyncio.sleep(0.02)


class EngineCase(unittest.IsolatedAsyncioTestCase):
    """Each test gets a folder; engines made by engine() that still run at the test's end are stopped with SIGTERM.

    An engine that does not end with 0, or that complained (sanitizers, failed checks), fails the test.
    """

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="cairn-e2e-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self._engines = 0

    async def asyncSetUp(self) -> None:
        asyncio.get_running_loop().set_debug(False)  # three times slower with it

    def new_engine(self, *options: str, **parameters) -> Engine:
        """Not started."""
        folder = self.folder / f"engine{self._engines}"
        folder.mkdir()
        self._engines += 1
        return Engine(BIN / "io-engine", BIN / "io-engine-client", folder, options, **parameters)

    def engine(self, *options: str, **parameters) -> Engine:
        """Started."""
        engine = self.new_engine(*options, **parameters)
        self.addCleanup(self._end, engine)
        engine.start()
        return engine

    @staticmethod
    def _end(engine: Engine) -> None:
        engine.check_alive()
        if engine.alive:
            engine.stop()
        engine.check_log()

    async def expect_descriptors(self, engine: Engine, baseline: int) -> None:
        """Waits until the engine has no more descriptors open than at the baseline."""
        await settled(f"the engine is back to {baseline} descriptors", lambda: engine.descriptors() <= baseline,
                      lambda: f"it has {engine.descriptors()}: {describe_descriptors(engine)}")

    async def expect_no_controllers(self, engine: Engine, timeout_s: float = SETTLE_TIMEOUT_S) -> None:
        """Waits until no subsystem has a controller."""
        def controllers() -> list:
            engine.check_alive()
            return [each for subsystem in engine.json_rpc("nvmf_get_subsystems") for each in subsystem["controllers"]]
        await settled("no controller is left", lambda: not controllers(), controllers, timeout_s)


def describe_descriptors(engine: Engine) -> list[str]:
    folder = pathlib.Path(f"/proc/{engine.pid}/fd")
    return sorted(os.readlink(each) for each in folder.iterdir() if os.path.islink(each))
