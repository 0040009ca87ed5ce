"""A device that grows under a connected host."""

from scenario import Rig, expect_equal, scenario

SMALL_MIB = 64
LARGE_MIB = 96


@scenario()
def grow(rig: Rig) -> None:
    path = rig.sparse_file("disk", SMALL_MIB)
    with rig.engine() as engine:
        nqn = engine.create_and_share(f"aio://{path}")
        controller = rig.host.connect(nqn, engine.port)
        expect_equal(controller.size_bytes, SMALL_MIB << 20, "size at first")
        rig.guest.check(f"mkfs.ext4 -q {controller.device}")

        with path.open("r+b") as file:
            file.truncate(LARGE_MIB << 20)
        engine.client("bdev", "create", f"aio://{path}?rescan")
        rig.guest.wait_until(f"[ $(blockdev --getsize64 {controller.device}) = {LARGE_MIB << 20} ]", 10)
        rig.guest.check(f"e2fsck -fp {controller.device} && resize2fs {controller.device}")
        rig.fio(f"--filename={controller.device} --offset={LARGE_MIB - 4}M --size=4M")
        expect_equal(rig.guest.run("dmesg | grep -i reconnect").output, "", "reconnects while it grew")
