"""Replicas as the kernel sees them: a file system on a thin one gives space back; snapshots are what was there."""

import json
import time

from engine import Engine
from scenario import Rig, expect, expect_equal, scenario

MIB = 1 << 20
CLUSTER_MIB = 1
REPLICA = "11111111-2222-4333-8444-555555555555"
SNAPSHOT = "22222222-2222-4333-8444-555555555555"
CLONE = "33333333-2222-4333-8444-555555555555"
NQN = "nqn.2019-05.io.openebs:"


@scenario()
def thin_replica_returns_space(rig: Rig) -> None:
    """ext4 with `discard` on a thin replica: what files take from the pool goes back when they are deleted."""
    disk = rig.sparse_file("pool-disk", 256)
    with rig.engine() as engine:
        engine.client("pool", "create", "pool0", str(disk), "--cluster-size", f"{CLUSTER_MIB}MiB")
        engine.client("replica", "create", "volume", REPLICA, "pool0", "--size", "128MiB", "--thin", "-p", "nvmf")
        controller = rig.host.connect(NQN + "volume", engine.port)
        rig.guest.check(f"mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 {controller.device}")
        rig.guest.check(f"mount -t ext4 -o discard {controller.device} /mnt")
        rig.guest.check("sync")
        empty = _used_mib(engine)
        rig.guest.check(f"head -c {40 * MIB} /dev/urandom >/mnt/file && sync")
        full = _used_mib(engine)
        expect(full >= empty + 38, f"a file of 40 MiB takes space: {empty} MiB before, {full} MiB with it")
        rig.guest.check("rm /mnt/file && sync")
        # The kernel discards in the background, behind the commit of its journal.
        deadline = time.monotonic() + 30
        # What shares a cluster with something else stays: the journal goes round, directories grow.
        while (after := _used_mib(engine)) > full - 32:
            expect(time.monotonic() < deadline, f"its space goes back when it is deleted: {full} MiB before, {after} MiB now")
            time.sleep(0.1)
        rig.guest.check(f"head -c {8 * MIB} /dev/urandom >/mnt/more && sync && umount /mnt")
        rig.guest.check(f"e2fsck -fn {controller.device}")


@scenario()
def snapshot_of_a_mounted_replica(rig: Rig) -> None:
    """A clone of a snapshot that was taken under a mounted file system is a file system with the files of that moment."""
    disk = rig.sparse_file("pool-disk", 256)
    with rig.engine() as engine:
        engine.client("pool", "create", "pool0", str(disk), "--cluster-size", f"{CLUSTER_MIB}MiB")
        engine.client("replica", "create", "volume", REPLICA, "pool0", "--size", "64MiB", "--thin", "-p", "nvmf")
        controller = rig.host.connect(NQN + "volume", engine.port)
        rig.guest.check(f"mkfs.ext4 -q {controller.device}")
        with rig.mounted(controller.device, "ext4"):
            rig.guest.check(f"head -c {8 * MIB} /dev/urandom >/mnt/kept && sha256sum </mnt/kept >/tmp/sum && sync")
            engine.client("snapshot", "create_for_replica", REPLICA, "monday", "volume", "txn", SNAPSHOT)
            rig.guest.check(f"rm /mnt/kept && head -c {8 * MIB} /dev/urandom >/mnt/later && sync")
        engine.client("snapshot", "create_clone", SNAPSHOT, "copy", CLONE)
        engine.client("replica", "share", CLONE, "nvmf")
        copy = rig.host.connect(NQN + "copy", engine.port)
        with rig.mounted(copy.device, "ext4"):
            expect_equal(rig.guest.check("ls /mnt | grep -v lost").split(), ["kept"], "files of the clone")
            rig.guest.check("sha256sum </mnt/kept | cmp - /tmp/sum")
        rig.guest.check(f"e2fsck -fn {copy.device}")
        rig.guest.check(f"e2fsck -fn {controller.device}")


def _used_mib(engine: Engine) -> int:
    (pool,) = json.loads(engine.client("-o", "json", "pool", "list"))["pools"]
    return int(pool["used"]) // MIB
