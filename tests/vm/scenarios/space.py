"""Commands that transfer no data, or compare it: deallocate, write zeroes, compare, copy."""

from nvme_host import Controller
from scenario import Rig, expect, expect_equal, scenario

MIB = 1 << 20
PATTERN_FILE = "/tmp/pattern"


@scenario()
def discard_and_zeroes(rig: Rig) -> None:
    with rig.engine() as engine:
        controller = rig.host.connect(engine.create_and_share("malloc:///space?size_mb=64"), engine.port)
        for ability in ("discard", "write_zeroes"):
            expect(int(controller.queue_attribute(f"{ability}_max_bytes")) > 0, f"the kernel sees no {ability}")
        for option in ("", "--zeroout"):
            _write_pattern(rig, controller)
            rig.guest.check(f"blkdiscard {option} --offset {MIB} --length {MIB} {controller.device}")
            _expect_content(rig, controller, 0, MIB, "f", "before the range")
            _expect_content(rig, controller, MIB, MIB, "\\0", f"the range after blkdiscard {option}")
            _expect_content(rig, controller, 2 * MIB, MIB, "f", "behind the range")

        rig.guest.check(f"mkfs.ext4 -q {controller.device}")
        with rig.mounted(controller.device, "ext4") as mount:
            rig.guest.check(f"head -c {8 * MIB} /dev/urandom >{mount}/gone && sync && rm {mount}/gone")
            rig.guest.check(f"fstrim {mount}")
        rig.guest.check(f"e2fsck -fn {controller.device}")


@scenario()
def compare_and_copy(rig: Rig) -> None:
    with rig.engine() as engine:
        controller = rig.host.connect(engine.create_and_share("malloc:///compare?size_mb=64"), engine.port)
        _write_pattern(rig, controller)
        compare = (f"nvme compare {controller.device} --namespace-id=1 --start-block=8 --block-count=7 "
                   "--data-size=4096 --data=/tmp/expected")
        rig.guest.check(f"head -c 4096 {PATTERN_FILE} >/tmp/expected && {compare}")
        status, output = rig.guest.run(f"head -c 4096 /dev/zero >/tmp/expected && {compare}")
        expect(status != 0 and "compare" in output.lower(), f"comparing with other data: {status}, {output}")

        copy = f"nvme copy {controller.device} --namespace-id=1 --sdlba=16384 --slbs=0 --blocks=15 --format=0"
        rig.guest.check(copy)
        _expect_content(rig, controller, 16384 * 512, 16 * 512, "f", "the destination of the copy")
        _expect_content(rig, controller, 16400 * 512, 16 * 512, "\\0", "behind the destination of the copy")


def _write_pattern(rig: Rig, controller: Controller) -> None:
    rig.guest.check(f"head -c {4 * MIB} /dev/zero | tr '\\0' f >{PATTERN_FILE} && "
                    f"dd if={PATTERN_FILE} of={controller.device} bs=1M oflag=direct conv=fsync 2>/dev/null")


def _expect_content(rig: Rig, controller: Controller, offset: int, length: int, character: str, what: str) -> None:
    """Read around the page cache; every byte has to be the one character."""
    read = f"dd if={controller.device} iflag=direct bs=4096 skip={offset // 4096} count={length // 4096} 2>/dev/null"
    expect_equal(rig.guest.check(f"{read} | wc -c").strip(), str(length), f"bytes read of {what}")
    others = rig.guest.check(f"{read} | tr -d '{character}' | wc -c").strip()
    expect_equal(others, "0", f"unexpected bytes in {what}")
