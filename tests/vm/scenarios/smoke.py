"""What a user does first: format, mount, write, unmount, check; and the data outlives the engine."""

from scenario import CHECKSUMS, Rig, expect, expect_equal, scenario

SIZE_MIB = 320  # mkfs.xfs refuses less than 300


@scenario(quick_on=("6.1", "6.12"))
def smoke_ext4(rig: Rig) -> None:
    smoke(rig, "ext4", block_bytes=512, check="e2fsck -fn")


@scenario(quick_on=("6.1", "6.12"))
def smoke_xfs(rig: Rig) -> None:
    smoke(rig, "xfs", block_bytes=4096, check="xfs_repair -n")


def smoke(rig: Rig, filesystem: str, block_bytes: int, check: str) -> None:
    uri = rig.persistent_device(SIZE_MIB, block_bytes)
    with rig.engine() as engine:
        nqn = engine.create_and_share(uri)
        subsystems = [record["subnqn"] for record in rig.host.discover(engine.port)]
        expect(nqn in subsystems, f"discovery shows {nqn}: {subsystems}")
        controller = rig.host.connect(nqn, engine.port, queues=4)
        expect_equal(controller.io_queues, 4, "I/O queues")
        expect_equal(controller.size_bytes, SIZE_MIB << 20, "size")
        expect_equal(controller.queue_attribute("logical_block_size"), str(block_bytes), "block size")

        rig.guest.check(f"mkfs.{filesystem} -q {controller.device}")
        with rig.mounted(controller.device, filesystem) as mount:
            rig.fio(f"--directory={mount} --size=4M --end_fsync=1")
            rig.guest.check(f"head -c 4194304 /dev/urandom >{mount}/random")
            checksums = rig.guest.check(CHECKSUMS)
        rig.guest.check(f"{check} {controller.device}")

        engine.stop()
        controller.wait_for_state("connecting")
        engine.start()
        engine.create_and_share(uri)
        controller.wait_for_state("live")
        with rig.mounted(controller.device, filesystem):
            expect_equal(rig.guest.check(CHECKSUMS), checksums, "checksums after the restart")
        rig.guest.check(f"{check} {controller.device}")
