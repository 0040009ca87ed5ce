"""Child processes that never outlive the run, however it ends."""

import os
import pathlib
import signal
import subprocess
from typing import Sequence


def spawn(command: Sequence[str | pathlib.Path], **options) -> subprocess.Popen:
    """Like Popen; the kernel kills the child when the thread that called this ends. Call it from the main thread."""
    bound = ["setpriv", "--pdeathsig", "KILL", "--", *map(str, command)]
    return subprocess.Popen(bound, stdin=subprocess.DEVNULL, **options)


def freeze(pid: int) -> None:
    """SIGSTOP to a child. Returns when all its threads stand still: until then they may answer a little longer."""
    os.kill(pid, signal.SIGSTOP)
    if os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT).si_code != os.CLD_STOPPED:
        raise ProcessLookupError(f"process {pid} has ended")


def stop(process: subprocess.Popen, grace_s: float) -> int:
    """SIGTERM, and SIGKILL when that takes longer than the grace. Returns the exit code, negative for a signal."""
    process.terminate()
    try:
        return process.wait(grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
