"""Two applications on the device of the Linux host: fio, which writes and reads back with checksums over and over, and a
writer that knows which of its writes were flushed and how long the device was silent."""

import re

from guest import Guest, Job

WRITER_BLOCKS = 1024  # of 4 KiB, at the device's begin; gone round and round
FLUSH_EVERY = 4
FIO_OFFSET_MIB, FIO_SIZE_MIB = 16, 2

# Each pass writes its area in random order, reads all of it back and compares; a fixed seed would write the same again.
FIO = (f"fio --name=verify --thread --ioengine=libaio --direct=1 --iodepth=8 --bs=4k --rw=randwrite --offset={FIO_OFFSET_MIB}M "
       f"--size={FIO_SIZE_MIB}M --randrepeat=0 --verify=crc32c --verify_fatal=1 --do_verify=1 --verify_state_save=0 "
       "--allow_file_create=0 --rate_iops=400")


class WorkloadError(Exception):
    pass


class Workload:
    """start() ... stop(). Any error that either application sees fails stop(), progress() and check()."""

    def __init__(self, guest: Guest, device: str):
        self._guest = guest
        self._device = device
        self._writer: Job | None = None
        self._fio: Job | None = None
        self.acknowledged = 0  # writes of the last run
        self.passes = 0        # of fio, all runs
        self.longest_gap_ms = 0  # of the last run

    def start(self) -> None:
        self._guest.check("rm -f /tmp/stop")
        self._writer = self._guest.start(f"exec sequence-writer write {self._device} {WRITER_BLOCKS} {FLUSH_EVERY}")
        self._fio = self._guest.start(f"cd /tmp && while [ ! -e /tmp/stop ]; do {FIO} --filename={self._device} >fio.log 2>&1 "
                                      "|| { cat fio.log; exit 1; }; echo passed; done")

    def progress(self, writes: int = 40 * FLUSH_EVERY, timeout_s: float = 90) -> None:
        """Until so many more writes were acknowledged."""
        goal = self._acknowledged() // FLUSH_EVERY * FLUSH_EVERY + writes
        self._writer.wait_for_output(rf"acked {goal}\n", timeout_s)
        if not self._fio.running:
            raise WorkloadError(f"fio ended: {self._fio.output[-2000:]}")

    def stop(self, timeout_s: float = 90) -> None:
        """Both end in order, and all that was acknowledged is on the device."""
        self._guest.check("touch /tmp/stop")
        self._writer.kill(15)
        for name, job in (("the writer", self._writer), ("fio", self._fio)):
            status, output = job.wait(timeout_s)
            if status != 0:
                raise WorkloadError(f"{name} ended with {status}: {output[-2000:]}")
        self.passes += self._fio.output.count("passed")
        self.acknowledged = self._acknowledged()
        self.longest_gap_ms = int(re.search(r"longest gap (\d+) ms", self._writer.output)[1])
        self.check()

    def check(self) -> None:
        status, output = self._guest.run(f"sequence-writer check {self._device} {WRITER_BLOCKS} {self.acknowledged}")
        if status != 0:
            raise WorkloadError(f"the device does not hold what was acknowledged: {output[-2000:]}")

    def _acknowledged(self) -> int:
        numbers = re.findall(r"acked (\d+)\n", self._writer.output[-4096:])
        return int(numbers[-1]) if numbers else 0
