"""kill -9 of the engine under writers that flush all the time: what a flush acknowledged is there afterwards.

Two writers: fio with an fdatasync after each write, which checks every block it wrote; and one of our own, which
knows how far the flushes got that it saw acknowledged.
"""

import re

from engine import Engine
from guest import Job
from nvme_host import Controller
from scenario import FIO_DEFAULTS, Rig, expect, expect_equal, scenario

CRASHES = 3
BLOCKS = 256  # the writer goes round and round in the first MiB; fio works behind it
FLUSH_EVERY = 4
ACKNOWLEDGED_BETWEEN_CRASHES = 50 * FLUSH_EVERY
FIO_AREA = "--offset=16M --size=32M"


@scenario()
def crash_keeps_flushed_writes(rig: Rig) -> None:
    uri = rig.persistent_device(64)
    with rig.engine() as engine:
        nqn = engine.create_and_share(uri)
        controller = rig.host.connect(nqn, engine.port)
        writer = rig.guest.start(f"exec sequence-writer write {controller.device} {BLOCKS} {FLUSH_EVERY}")
        fio_job = f"cd /tmp && fio {FIO_DEFAULTS} --filename={controller.device} {FIO_AREA}"
        # Slow enough to write through all the crashes; any error of an I/O ends it with another exit code.
        fio = rig.guest.start(f"{fio_job} --do_verify=0 --fdatasync=1 --rate_iops=300")
        for _ in range(CRASHES):
            _wait_for_progress(writer)
            expect(fio.running, "fio writes when the engine is killed")
            engine.kill()
            _come_back(rig, engine, controller, uri)
        _wait_for_progress(writer)
        writer.kill(15)
        status, output = writer.wait()
        expect_equal(status, 0, f"the writer's exit code ({output[-200:]})")
        status, output = fio.wait(120)
        expect_equal(status, 0, f"fio's exit code ({output[-1000:]})")
        acknowledged = _acknowledged(writer)

        # Killed once more, so that nothing can come from the memory of the engine that wrote it, nor the host's.
        engine.kill()
        _come_back(rig, engine, controller, uri)
        rig.guest.check(f"sequence-writer check {controller.device} {BLOCKS} {acknowledged}")
        rig.guest.check(f"{fio_job} --verify_only", 120)


def _come_back(rig: Rig, engine: Engine, controller: Controller, uri: str) -> None:
    """As after a crash of a node: the engine is up again for a while before its devices are."""
    controller.wait_for_state("connecting")
    rig.guest.check("dmesg -c >/dev/null")
    engine.start()
    # The kernel finds the port open and the subsystem unknown; it has to keep on trying all the same.
    rig.guest.wait_until("dmesg | grep -q \"Connect Invalid\"", 20)
    expect_equal(controller.attribute("state"), "connecting", "state after a refused connect")
    engine.create_and_share(uri)
    controller.wait_for_state("live")


def _acknowledged(writer: Job) -> int:
    return int((re.findall(r"acked (\d+)\n", writer.output) or ["0"])[-1])


def _wait_for_progress(writer: Job) -> None:
    before = _acknowledged(writer)
    wanted = before + ACKNOWLEDGED_BETWEEN_CRASHES
    writer.wait_for_output(rf"acked {wanted}\n", timeout_s=60)
    expect(_acknowledged(writer) >= wanted, "the writer goes on")
