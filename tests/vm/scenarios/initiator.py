"""Our initiator against the kernel's own target, in a guest of its own; casperf on this machine checks what it reads."""

import pathlib
import subprocess
import time

from free_ports import free_ports
from kernel_target import KernelTarget
from scenario import Rig, expect_equal, scenario

NQN = "nqn.2019-05.io.openebs:kernel"
PORT = 4420
AWAY_S, LOAD_S = 5, 12
CASPERF_TIMEOUT_S = 120


def _start_casperf(program: pathlib.Path, port: int, parameters: str, *options: str, io_size: str = "4096"
                   ) -> subprocess.Popen:
    uri = f"nvmf://127.0.0.1:{port}/{NQN}?retry_window_ms=60000{parameters}"
    return subprocess.Popen([program, "-t", "randrw", "-b", io_size, "-q", "16", "--verify", "--quiet", "-l", "0",
                             "--spin-budget", "50us", "--size", "8MiB", *options, uri], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def _finish(casperf: subprocess.Popen, what: str) -> None:
    output, _ = casperf.communicate(timeout=CASPERF_TIMEOUT_S)
    expect_equal(casperf.returncode, 0, f"casperf, {what}:\n{output}\nexit code")


@scenario(quick_on=(), needs_engine=False)
def initiator_against_the_kernel(rig: Rig) -> None:
    casperf = rig.engine_program.parent / "casperf"
    [port] = free_ports(1)
    with rig.another_guest(2, forward={port: PORT}) as guest:
        target = KernelTarget(guest, NQN, size_mib=32, address="0.0.0.0", port=PORT)
        target.set_up()
        target.listen()
        for parameters in ("", "&hdgst=1", "&ddgst=1", "&hdgst=1&ddgst=1&queue_entries=4"):
            _finish(_start_casperf(casperf, port, parameters, "-n", "2000"), f"with '{parameters}'")
        _finish(_start_casperf(casperf, port, "", "-n", "200", io_size="256KiB"), "large I/O")
        _ride_through(casperf, port, target)


def _ride_through(program: pathlib.Path, port: int, target: KernelTarget) -> None:
    casperf = _start_casperf(program, port, "", "-d", f"{LOAD_S}s")
    time.sleep(2)  # of load
    target.stop_listening()
    time.sleep(AWAY_S)
    expect_equal(casperf.poll(), None, "casperf goes on while the target is away; exit code")
    target.listen()
    _finish(casperf, f"target away for {AWAY_S} s")
