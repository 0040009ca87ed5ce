"""The rig itself, without an engine: the guest's kernel is host and target at once, over its loopback interface."""

import re

from kernel_target import KernelTarget
from scenario import Rig, expect, expect_equal, scenario

NQN = "nqn.2019-05.io.openebs:selftest"
PORT = 4420


@scenario(quick_on=("6.1", "6.12"), needs_engine=False)
def selftest(rig: Rig) -> None:
    expect_equal(rig.guest.run("echo out; echo err >&2; exit 3"), (3, "out\nerr\n"), "status and output of a command")
    job = rig.guest.start("echo started; exec sleep 1000")
    job.wait_for_output("started")
    job.kill(15)
    expect_equal(job.wait().status, 128 + 15, "status of a killed command")
    expect_equal(len(rig.guest.check("head -c 1000000 /dev/zero | tr '\\0' x")), 1000000, "bytes of a long output")

    target = KernelTarget(rig.guest, NQN, size_mib=64, address="127.0.0.1", port=PORT)
    target.set_up()
    target.listen()
    records = rig.host.discover(PORT, "127.0.0.1")
    expect(NQN in [record["subnqn"] for record in records], f"discovery shows {NQN}: {records}")
    controller = rig.host.connect(NQN, PORT, "--hdr-digest --data-digest", address="127.0.0.1")
    expect_equal(controller.size_bytes, 64 << 20, "size of the namespace")
    rig.fio(f"--filename={controller.device} --size=4M")
    acknowledged = _write_sequences(rig, controller.device)
    rig.guest.check(f"sequence-writer check {controller.device} 256 {acknowledged}")
    status, output = rig.guest.run(f"sequence-writer check {controller.device} 256 {acknowledged + 100000}")
    expect(status == 1 and "lost" in output, f"the check does not notice lost writes: {output}")
    rig.host.disconnect_all()
    target.stop_listening()
    target.tear_down()


def _write_sequences(rig: Rig, device: str) -> int:
    writer = rig.guest.start(f"exec sequence-writer write {device} 256 8")
    writer.wait_for_output(r"acked 512\n")
    writer.kill(15)
    output = writer.wait().output
    return int(re.findall(r"^acked ([0-9]+)$", output, re.M)[-1])
