"""Child processes that never outlive the run, however it ends."""

import pathlib
import subprocess
from typing import Sequence


def spawn(command: Sequence[str | pathlib.Path], **options) -> subprocess.Popen:
    """Like Popen; the kernel kills the child when the thread that called this ends. Call it from the main thread."""
    bound = ["setpriv", "--pdeathsig", "KILL", "--", *map(str, command)]
    return subprocess.Popen(bound, stdin=subprocess.DEVNULL, **options)


def stop(process: subprocess.Popen, grace_s: float) -> int:
    """SIGTERM, and SIGKILL when that takes longer than the grace. Returns the exit code, negative for a signal."""
    process.terminate()
    try:
        return process.wait(grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
