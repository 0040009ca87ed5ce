"""Reservations between two hosts, each a kernel of its own."""

from scenario import Rig, expect, expect_equal, scenario
from nvme_host import Controller, NvmeHost

WRITE_EXCLUSIVE = 1
ACQUIRE, PREEMPT = 0, 1
KEY_1, KEY_2 = 0xA1, 0xB2


@scenario()
def reservations(rig: Rig) -> None:
    with rig.engine() as engine, rig.another_guest(2) as other_guest:
        nqn = engine.create_and_share("malloc:///shared?size_mb=64")
        first = Host(rig.host, rig.host.connect(nqn, engine.port))
        other_host = NvmeHost(other_guest)
        second = Host(other_host, other_host.connect(nqn, engine.port, queues=1))

        first.nvme(f"resv-register --nrkey={KEY_1} --rrega=0")
        first.nvme(f"resv-acquire --crkey={KEY_1} --rtype={WRITE_EXCLUSIVE} --racqa={ACQUIRE}")
        report = first.report()
        expect_equal((report["rtype"], report["regctl"]), (WRITE_EXCLUSIVE, 1), "type and number of registrants")
        (registrant,) = report["regctlext"]
        expect_equal((registrant["rkey"], registrant["rcsts"] & 1), (KEY_1, 1), "key and state of the holder")

        expect(first.can_write(), "the holder cannot write")
        expect(second.can_read(), "write exclusive keeps others from reading")
        expect(not second.can_write(), "write exclusive lets others write")
        expect(not second.try_nvme(f"resv-acquire --crkey={KEY_2} --rtype={WRITE_EXCLUSIVE} --racqa={ACQUIRE}"),
               "a host that is not registered acquires")

        second.nvme(f"resv-register --nrkey={KEY_2} --rrega=0")
        second.nvme(f"resv-acquire --crkey={KEY_2} --prkey={KEY_1} --rtype={WRITE_EXCLUSIVE} --racqa={PREEMPT}")
        expect(second.can_write(), "the new holder cannot write")
        expect(not first.can_write(), "the preempted host still writes")
        keys = [entry["rkey"] for entry in second.report()["regctlext"]]
        expect_equal(keys, [KEY_2], "registrants after the preemption")

        second.nvme(f"resv-release --crkey={KEY_2} --rtype={WRITE_EXCLUSIVE} --rrela=0")
        expect(first.can_write(), "after the release not everybody writes")
        second.nvme(f"resv-register --crkey={KEY_2} --rrega=1")
        expect_equal(first.report()["regctl"], 0, "registrants at the end")


class Host:
    def __init__(self, host: NvmeHost, controller: Controller):
        self._host = host
        self._device = controller.device

    def nvme(self, command: str) -> None:
        verb, options = command.split(" ", 1)
        self._host.guest.check(f"nvme {verb} {self._device} --namespace-id=1 {options}")

    def try_nvme(self, command: str) -> bool:
        verb, options = command.split(" ", 1)
        return self._host.guest.run(f"nvme {verb} {self._device} --namespace-id=1 {options}").status == 0

    def report(self) -> dict:
        return self._host.json(f"resv-report {self._device} --namespace-id=1 --eds")

    def can_write(self) -> bool:
        return self._host.guest.run(f"dd if=/dev/zero of={self._device} bs=4096 count=1 oflag=direct").status == 0

    def can_read(self) -> bool:
        return self._host.guest.run(f"dd if={self._device} of=/dev/null bs=4096 count=1 iflag=direct").status == 0
