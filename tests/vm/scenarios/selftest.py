"""The rig itself, without an engine: the guest's kernel is host and target at once, over its loopback interface."""

import re

from scenario import Rig, expect, expect_equal, scenario

NQN = "nqn.2019-05.io.openebs:selftest"
PORT = 4420

START_KERNEL_TARGET = f"""
set -e
modprobe nvmet-tcp
modprobe null_blk nr_devices=0
mount -t configfs configfs /sys/kernel/config
mkdir /sys/kernel/config/nullb/nullb0 && cd /sys/kernel/config/nullb/nullb0
echo 64 >size && echo 1 >memory_backed && echo 1 >discard && echo 1 >power
cd /sys/kernel/config/nvmet
mkdir subsystems/{NQN} && echo 1 >subsystems/{NQN}/attr_allow_any_host
mkdir subsystems/{NQN}/namespaces/1
echo -n /dev/nullb0 >subsystems/{NQN}/namespaces/1/device_path
echo 1 >subsystems/{NQN}/namespaces/1/enable
mkdir ports/1
echo tcp >ports/1/addr_trtype; echo ipv4 >ports/1/addr_adrfam
echo 127.0.0.1 >ports/1/addr_traddr; echo {PORT} >ports/1/addr_trsvcid
ln -s /sys/kernel/config/nvmet/subsystems/{NQN} ports/1/subsystems/{NQN}
"""

STOP_KERNEL_TARGET = f"""
cd /sys/kernel/config/nvmet
rm ports/1/subsystems/{NQN} && rmdir ports/1
echo 0 >subsystems/{NQN}/namespaces/1/enable
rmdir subsystems/{NQN}/namespaces/1 subsystems/{NQN}
rmdir /sys/kernel/config/nullb/nullb0
cd / && umount /sys/kernel/config
"""


@scenario(quick_on=("6.1", "6.12"), needs_engine=False)
def selftest(rig: Rig) -> None:
    expect_equal(rig.guest.run("echo out; echo err >&2; exit 3"), (3, "out\nerr\n"), "status and output of a command")
    job = rig.guest.start("echo started; exec sleep 1000")
    job.wait_for_output("started")
    job.kill(15)
    expect_equal(job.wait().status, 128 + 15, "status of a killed command")
    expect_equal(len(rig.guest.check("head -c 1000000 /dev/zero | tr '\\0' x")), 1000000, "bytes of a long output")

    rig.guest.check(START_KERNEL_TARGET)
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
    rig.guest.check(STOP_KERNEL_TARGET)


def _write_sequences(rig: Rig, device: str) -> int:
    writer = rig.guest.start(f"exec sequence-writer write {device} 256 8")
    writer.wait_for_output(r"acked 512\n")
    writer.kill(15)
    output = writer.wait().output
    return int(re.findall(r"^acked ([0-9]+)$", output, re.M)[-1])
