"""The engine under test, shared with the tests of processes."""

import pathlib
import sys

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "harness"))

from engine_process import BINARIES, NQN_PREFIX, Engine, EngineError  # noqa: E402

__all__ = ["BINARIES", "NQN_PREFIX", "Engine", "EngineError"]
