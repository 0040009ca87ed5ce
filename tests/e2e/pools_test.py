"""Pools, replicas, snapshots and clones by the client, and what hosts see of them: contracts, restarts, crashes, refusals."""

import asyncio
import errno
import hashlib
import json
import os
import struct
import subprocess
import unittest
import uuid

from engine_case import EngineCase, settled
from nvme_tcp_host import CommandFailed, Controller

MIB = 1 << 20
CLUSTER = 4 * MIB
BLOCK = 512
NQN = "nqn.2019-05.io.openebs:"


class PoolCase(EngineCase):
    def setUp(self) -> None:
        super().setUp()
        self.under_test = self.engine()

    def disk(self, size_mib: int = 100, name: str = "disk.img") -> str:
        path = self.folder / name
        with path.open("wb") as file:
            file.truncate(size_mib * MIB)
        return str(path)

    def listed(self, *command: str) -> list[dict]:
        (rows,) = json.loads(self.under_test.client("-o", "json", *command)).values()
        return rows

    def pool(self, name: str = "pool0") -> dict:
        (pool,) = [each for each in self.listed("pool", "list") if each["name"] == name]
        return pool

    def replica(self, identity: str) -> dict:
        (replica,) = [each for each in self.listed("replica", "list") if each["uuid"] == identity]
        return replica

    def create(self, name: str, size: str, *options: str, pool: str = "pool0") -> str:
        """The UUID of the new replica."""
        identity = str(uuid.uuid4())
        self.under_test.client("replica", "create", name, identity, pool, "--size", size, *options)
        return identity

    def snapshot(self, source: str, name: str) -> str:
        identity = str(uuid.uuid4())
        self.under_test.client("snapshot", "create_for_replica", source, name, "entity", "txn", identity)
        return identity

    def clone(self, snapshot: str, name: str) -> str:
        identity = str(uuid.uuid4())
        self.under_test.client("snapshot", "create_clone", snapshot, name, identity)
        return identity

    def refused(self, code: str, text: str, *command: str) -> None:
        result = self.under_test.client_result(*command)
        self.assertEqual((result.returncode, result.stdout), (1, ""), command)
        self.assertTrue(result.stderr.startswith(f"error: {code}: "), (command, result.stderr))
        self.assertIn(text, result.stderr, command)

    async def host(self, name: str, **options) -> Controller:
        return await Controller.connect("127.0.0.1", self.under_test.port, NQN + name, **options)

    def crash(self) -> None:
        self.under_test.kill()
        self.under_test.start()


class Session(PoolCase):
    """The session of the original's README: its commands as they stand there, its tables in the columns of today."""

    def test_session(self) -> None:
        client = self.under_test.client
        path = self.disk(name="tmp.img")
        self.assertEqual(client("pool", "create", "tpool", f"aio://{path}"), "tpool\n")
        header, row = client("pool", "list").splitlines()
        self.assertEqual(header.split(), "NAME UUID STATE CAPACITY USED USED% CLUSTER_SIZE PAGE_SIZE MD_PAGE_SIZE MD_PAGES "
                                         "MD_USED_PAGES MD_USED% DISKS DISK_CAPACITY".split())
        cells = row.split()
        self.assertEqual(cells[:1] + cells[2:12],
                         ["tpool", "online", str(96 * MIB), "0", "0.00%", str(CLUSTER), "4096", "4096", "25", "1", "4.00%"])
        self.assertRegex(cells[12], f"^aio://{path}\\?uuid=[0-9a-f-]{{36}}$")
        self.assertEqual(cells[13], str(100 * MIB))
        for name, options in (("replica1", ["--size=10"]), ("replica2", ["--size=1000", "--thin"])):
            self.assertRegex(client("replica", "create", "tpool", name, *options),
                             f"^bdev:///{name}\\?uuid=[0-9a-f-]{{36}}\n$")
        header, *rows = client("replica", "list").splitlines()
        self.assertEqual(header.split(), "POOL NAME UUID THIN SHARE SIZE CAP ALLOC URI IS_SNAPSHOT IS_CLONE "
                                         "SNAP_ANCESTOR_SIZE CLONE_SNAP_ANCESTOR_SIZE".split())
        self.assertEqual([[each for index, each in enumerate(row.split()) if index not in (2, 8)] for row in rows],
                         [["tpool", name, thin, "none", str(CLUSTER), str(CLUSTER), str(CLUSTER), "false", "false", "0", "0"]
                          for name, thin in (("replica1", "false"), ("replica2", "true"))])
        self.assertEqual(client("replica", "destroy", "tpool", "replica1"), "replica: replica1 is deleted\n")
        self.assertEqual(client("replica", "destroy", "tpool", "replica2"), "replica: replica2 is deleted\n")
        self.assertEqual(client("replica", "list"), "No replicas found\n")
        self.assertEqual(client("pool", "destroy", "tpool"), "pool: tpool is deleted\n")
        self.assertEqual(client("pool", "list"), "No pools found\n")
        self.assertEqual(client("bdev", "list"), "No bdevs found\n")


class Refusals(PoolCase):
    def test_pools(self) -> None:
        path, other = self.disk(), self.disk(name="other.img")
        client = self.under_test.client
        client("pool", "create", "pool0", path)
        for code, text, *command in [
                ("ALREADY_EXISTS", "pool0", "create", "pool0", path),
                ("INVALID_ARGUMENT", "pool0", "create", "pool0", other),
                ("INVALID_ARGUMENT", "pool1", "create", "pool1", path),
                ("INVALID_ARGUMENT", "invalid number 2 of devices", "create", "pool1", other, path),
                ("INVALID_ARGUMENT", "1234", "create", "pool1", other, "--uuid", "1234"),
                ("INTERNAL", "multiple of 1MiB", "create", "pool1", other, "--cluster-size", "1000000"),
                ("INTERNAL", "1073741824", "create", "pool1", other, "--cluster-size", "2GiB"),
                ("INTERNAL", "ratio", "create", "pool1", other, "--md-resv-ratio", "0"),
                ("FAILED_PRECONDITION", "lvm", "create", "pool1", other, "--type", "lvm"),
                ("NOT_FOUND", "missing", "create", "pool1", str(self.folder / "missing")),
                ("INVALID_ARGUMENT", "no signature", "import", "pool1", other),
                ("ALREADY_EXISTS", "pool0", "import", "pool0", path),
                ("NOT_FOUND", "absent", "destroy", "absent"),
                ("NOT_FOUND", "absent", "export", "absent"),
                ("NOT_FOUND", "absent", "grow", "absent"),
                ("NOT_FOUND", "pool0", "destroy", "pool0", "--uuid", str(uuid.uuid4()))]:
            with self.subTest(command):
                self.refused(code, text, "pool", *command)
        self.assertEqual([each["name"] for each in self.listed("pool", "list")], ["pool0"])
        self.assertEqual(client("pool", "list", "absent"), "No pools found\n")

    def test_foreign_disks_are_left_alone(self) -> None:
        swap = self.disk(name="swap.img")
        subprocess.run(["/usr/sbin/mkswap", swap], check=True, capture_output=True)
        damaged = self.disk(name="damaged.img")
        self.under_test.client("pool", "create", "pool0", damaged)
        self.under_test.client("pool", "export", "pool0")
        with open(damaged, "r+b") as file:
            file.seek(100)
            file.write(b"\xff")
        renamed = self.disk(name="renamed.img")
        self.under_test.client("pool", "create", "pool0", renamed)
        self.under_test.client("pool", "export", "pool0")
        for path, text in ((swap, "swap"), (damaged, "pool0"), (renamed, "different name")):
            for command in ("create", "import"):
                with self.subTest(f"{command} {path}"):
                    before = _digest(path)
                    name = "pool1" if path == renamed else "pool0"
                    self.refused("INVALID_ARGUMENT", text if command == "create" else "", "pool", command, name, path)
                    self.assertEqual(_digest(path), before)
        self.assertEqual(self.under_test.client("bdev", "list"), "No bdevs found\n")
        # Only who says so loses it; and a pool that is whole is not lost even then.
        self.refused("INVALID_ARGUMENT", "--overwrite", "pool", "create", "pool0", swap)
        self.assertEqual(self.under_test.client("pool", "create", "pool0", swap, "--overwrite"), "pool0\n")
        self.refused("INVALID_ARGUMENT", "different name", "pool", "create", "pool1", renamed, "--overwrite")

    def test_replicas(self) -> None:
        client = self.under_test.client
        client("pool", "create", "pool0", self.disk())
        client("pool", "create", "pool1", self.disk(name="other.img"))
        first = self.create("r0", "20MiB", "--thin")
        taken, absent = self.snapshot(first, "s0"), str(uuid.uuid4())
        for code, text, *command in [
                ("ALREADY_EXISTS", "r0", "replica", "create", "r0", absent, "pool0", "--size", "1MiB"),
                ("ALREADY_EXISTS", first, "replica", "create", "r1", first, "pool1", "--size", "1MiB"),
                ("FAILED_PRECONDITION", "absent", "replica", "create", "r1", absent, "absent", "--size", "1MiB"),
                ("INVALID_ARGUMENT", "1234", "replica", "create", "r1", "1234", "pool0", "--size", "1MiB"),
                ("INVALID_ARGUMENT", "r1", "replica", "create", "r1", absent, "pool0", "--size", "0"),
                ("INVALID_ARGUMENT", "r1", "replica", "create", "r1", absent, "pool0", "--size", "1GiB", "--thin"),
                ("RESOURCE_EXHAUSTED", "r1", "replica", "create", "r1", absent, "pool0", "--size", "96MiB"),
                ("INVALID_ARGUMENT", "share protocol 2", "replica", "create", "r1", absent, "pool0",
                 "--size", "1MiB", "-p", "iscsi"),
                ("INVALID_ARGUMENT", "bad nqn", "replica", "create", "r1", absent, "pool0", "--size", "1MiB", "-p", "nvmf",
                 "--allowed-host", "bad nqn"),
                ("NOT_FOUND", absent, "replica", "destroy", absent),
                ("NOT_FOUND", taken, "replica", "destroy", taken),
                ("ABORTED", "pool1", "replica", "destroy", first, "--pool-name", "pool1"),
                ("FAILED_PRECONDITION", "absent", "replica", "destroy", first, "--pool-name", "absent"),
                ("NOT_FOUND", absent, "replica", "share", absent, "nvmf"),
                ("NOT_FOUND", absent, "replica", "unshare", absent),
                ("INVALID_ARGUMENT", "r0", "replica", "resize", first, "1GiB"),
                ("NOT_FOUND", absent, "snapshot", "create_for_replica", absent, "s", "e", "t", str(uuid.uuid4())),
                ("ALREADY_EXISTS", taken, "snapshot", "create_for_replica", first, "s", "e", "t", taken),
                ("INTERNAL", "s0", "snapshot", "create_for_replica", first, "s0", "e", "t", absent),
                ("INVALID_ARGUMENT", "not provided", "snapshot", "create_for_replica", first, "", "e", "t", absent),
                ("NOT_FOUND", absent, "snapshot", "destroy", absent),
                ("NOT_FOUND", first, "snapshot", "destroy", first),
                ("ABORTED", "pool1", "snapshot", "destroy", taken, "--pool-name", "pool1"),
                ("NOT_FOUND", absent, "snapshot", "create_clone", absent, "c0", str(uuid.uuid4())),
                ("ALREADY_EXISTS", first, "snapshot", "create_clone", taken, "c0", first),
                ("INVALID_ARGUMENT", "", "snapshot", "create_clone", taken, "", absent)]:
            with self.subTest(command):
                self.refused(code, text, *command)
        self.assertEqual(sorted(each["name"] for each in self.listed("replica", "list")), ["r0", "s0"])


class Limits(PoolCase):
    async def test_metadata_pages_are_used_up(self) -> None:
        """A replica of one cluster takes two. The pool goes on with what it has, also after a crash."""
        path = self.disk()
        client = self.under_test.client
        client("pool", "create", "pool0", path)
        written = self.create("r0", "40MiB", "--thin", "-p", "nvmf")
        host = await self.host("r0")
        await host.write(0, b"1" * BLOCK)
        for number in range(1, 100):
            result = self.under_test.client_result(
                "replica", "create", f"r{number}", str(uuid.uuid4()), "pool0", "--size", "4MiB", "--thin")
            if result.returncode != 0:
                break
        self.assertRegex(
            result.stderr, "^error: INVALID_ARGUMENT: failed to create lvol r[0-9]+: out of metadata pages: no free metadata page$")
        info = self.pool()["md_info"]
        self.assertEqual(info["md_used_pages"], info["md_pages"])
        replicas, used = self.listed("replica", "list"), self.pool()["used"]
        full = ("INVALID_ARGUMENT", "out of metadata pages")
        self.refused(*full, "replica", "create", "thick", str(uuid.uuid4()), "pool0", "--size", "8MiB")
        snapshot = str(uuid.uuid4())
        self.refused("INTERNAL", "out of metadata pages", "snapshot", "create_for_replica", written, "s0", "e", "t", snapshot)
        await host.write(1, b"2" * BLOCK)
        await host.write(4 * CLUSTER // BLOCK, b"3" * BLOCK)
        await host.flush()
        await host.close()
        self.assertEqual(self.pool()["md_info"], info)
        self.crash()
        client("pool", "import", "pool0", path)
        self.assertEqual([each["uuid"] for each in self.listed("replica", "list")], [each["uuid"] for each in replicas])
        self.assertEqual(int(self.pool()["used"]), int(used) + CLUSTER)
        # As soon as some have gone there is room again.
        for each in replicas[-3:]:
            client("replica", "destroy", each["uuid"])
        self.snapshot(written, "s0")
        host = await self.host("r0")
        self.assertEqual(await host.read(0, 2), b"1" * BLOCK + b"2" * BLOCK)
        self.assertEqual(await host.read(4 * CLUSTER // BLOCK, 1), b"3" * BLOCK)
        await host.close()


class HostsView(PoolCase):
    async def test_shares_come_back_after_a_restart(self) -> None:
        path = self.disk()
        client = self.under_test.client
        client("pool", "create", "pool0", path)
        open_to_all = self.create("r0", "8MiB", "-p", "nvmf")
        restricted = self.create("r1", "8MiB", "-p", "nvmf", "--allowed-host", "nqn.2014-08.org.nvmexpress:somebody")
        private = self.create("r2", "8MiB")
        uri = self.replica(open_to_all)["uri"]
        self.assertRegex(uri, f"^nvmf\\+tcp://127.0.0.1:[0-9]+/{NQN}r0\\?uuid={open_to_all}$")
        host = await self.host("r0")
        await host.write(5, b"r" * BLOCK)
        await host.flush()
        identity = await host.identify_namespace()
        await host.close()
        for restart in (self.crash, lambda: (self.under_test.stop(), self.under_test.start())):
            restart()
            self.assertEqual(client("pool", "create", "pool0", path), "pool0\n")
            self.assertEqual(self.replica(open_to_all)["share"], 1)
            self.assertEqual(self.replica(restricted)["allowed_hosts"], ["nqn.2014-08.org.nvmexpress:somebody"])
            self.assertEqual(self.replica(private)["uri"], f"bdev:///r2?uuid={private}")
            host = await self.host("r0")
            self.assertEqual(await host.read(5, 1), b"r" * BLOCK)
            self.assertEqual(await host.identify_namespace(), identity)
            await host.close()
            with self.assertRaises(CommandFailed):
                await self.host("r1")
        client("replica", "unshare", open_to_all)
        self.crash()
        client("pool", "import", "pool0", path)
        self.assertEqual(self.replica(open_to_all)["share"], 0)

    async def test_space_is_taken_by_writes_and_given_back(self) -> None:
        self.under_test.client("pool", "create", "pool0", self.disk())
        thin = self.create("thin", "40MiB", "--thin", "-p", "nvmf")
        at_first = int(self.pool()["used"])
        host = await self.host("thin")
        for cluster in range(4, 8):
            await host.write(cluster * CLUSTER // BLOCK + 3, b"t" * BLOCK)
        self.assertEqual(int(self.pool()["used"]), at_first + 4 * CLUSTER)
        self.assertEqual(await host.read(4 * CLUSTER // BLOCK, 4), b"\0" * 3 * BLOCK + b"t" * BLOCK)
        await host.deallocate((4 * CLUSTER // BLOCK, 4 * CLUSTER // BLOCK))
        self.assertEqual(int(self.pool()["used"]), at_first)
        self.assertEqual(await host.read(4 * CLUSTER // BLOCK, 4), bytes(4 * BLOCK))
        # The pool is overcommitted: what does not fit is refused, what has its space goes on.
        self.create("thick", "80MiB")
        with self.assertRaisesRegex(CommandFailed, "0/81h"):
            for cluster in range(4, 10):
                await host.write(cluster * CLUSTER // BLOCK, b"f" * BLOCK)
        await host.write(0, b"o" * BLOCK)
        self.assertEqual(await host.read(0, 1), b"o" * BLOCK)
        await host.close()
        self.assertEqual(int(self.replica(thin)["usage"]["capacity_bytes"]), 40 * MIB)

    async def test_snapshots_and_clones(self) -> None:
        path = self.disk()
        client = self.under_test.client
        client("pool", "create", "pool0", path)
        source = self.create("r0", "12MiB", "-p", "nvmf")
        host = await self.host("r0")
        await host.write(0, b"1" * BLOCK)
        taken = self.snapshot(source, "s0")
        await host.write(0, b"2" * BLOCK)
        copied = self.clone(taken, "c0")
        client("replica", "share", copied, "nvmf")
        copy = await self.host("c0")
        self.assertEqual(await copy.read(0, 1), b"1" * BLOCK)
        await copy.write(0, b"3" * BLOCK)
        await copy.flush()
        await host.flush()
        await host.close()
        await copy.close()
        self.crash()
        client("pool", "import", "pool0", path)
        for name, content in (("r0", b"2"), ("c0", b"3")):
            again = await self.host(name)
            self.assertEqual(await again.read(0, 1), content * BLOCK, name)
            await again.close()
        (listed,) = self.listed("snapshot", "list", source)
        self.assertEqual((listed["snapshot_uuid"], listed["num_clones"], listed["entity_id"], listed["valid_snapshot"]),
                         (taken, 1, "entity", True))
        self.assertEqual(self.replica(copied)["snapshot_uuid"], taken)
        # With a clone, it is only marked; it goes with the clone.
        client("snapshot", "destroy", taken)
        self.assertTrue(self.listed("snapshot", "list")[0]["discarded_snapshot"])
        self.refused("NOT_FOUND", taken, "snapshot", "create_clone", taken, "c1", str(uuid.uuid4()))
        client("replica", "destroy", copied)
        self.assertEqual(client("snapshot", "list"), "No snapshots found\n")
        again = await self.host("r0")
        self.assertEqual(await again.read(0, 1), b"2" * BLOCK)
        await again.close()

    async def test_snapshot_by_a_host(self) -> None:
        self.under_test.client("pool", "create", "pool0", self.disk())
        source = self.create("r0", "12MiB", "-p", "nvmf")
        host = await self.host("r0")
        taken = str(uuid.uuid4())
        message = _snapshot_message("entity", source, "txn", "by-host", taken, "2024-05-17 09:30:00 UTC")
        self.assertEqual((await host.admin.command(0xC1, nsid=1, data=message)).status, 0)
        (listed,) = self.listed("snapshot", "list")
        self.assertEqual((listed["snapshot_uuid"], listed["snapshot_name"], listed["timestamp"], listed["source_uuid"]),
                         (taken, "by-host", "2024-05-17T09:30:00Z", source))
        again = await host.admin.command(0xC1, nsid=1, data=message)
        self.assertEqual((again.status, again.dw0), (0x06, errno.EEXIST))
        unnamed = await host.admin.command(0xC1, nsid=1, data=_snapshot_message("e", source, "t", None, taken, "now"))
        self.assertEqual((unnamed.status, unnamed.dw0), (0x06, errno.EINVAL))
        for bad, status in ((message[:-1], 0x01), (b"\1" + message[1:], 0x01), (bytes(8192), 0x02)):
            self.assertEqual((await host.admin.command(0xC1, nsid=1, data=bad)).status, status)
        self.assertEqual((await host.admin.command(0xC1, nsid=2, data=message)).status, 0x0B)
        self.assertEqual((await host.admin.command(0xC5, nsid=1, data=message)).status, 0x01)
        await host.close()
        self.assertEqual(len(self.listed("snapshot", "list")), 1)

    async def test_resize_grow_and_wipe(self) -> None:
        path = self.disk()
        client = self.under_test.client
        client("pool", "create", "pool0", path)
        identity = self.create("r0", "8MiB", "-p", "nvmf")
        host = await self.host("r0")
        event = host.async_event()
        client("replica", "resize", identity, "16MiB")
        await event
        await host.write(12 * MIB // BLOCK, b"n" * BLOCK)
        await host.close()
        self.assertEqual(client("pool", "grow", "pool0"), f"Pool capacity did not change: {96 * MIB} bytes\n")
        os.truncate(path, 300 * MIB)
        await settled("the disk's growth is seen",
                      lambda: "did not change" not in client("pool", "grow", "pool0") or int(self.pool()["capacity"]) > 96 * MIB)
        self.assertGreaterEqual(int(self.pool()["capacity"]), 290 * MIB)
        header, *rows = client("test", "wipe", "replica", identity, "--chunk-size", "4MiB").splitlines()
        self.assertEqual([row.split()[6] for row in rows], ["0", "1", "2", "3", "4"])
        host = await self.host("r0")
        self.assertEqual(await host.read(12 * MIB // BLOCK, 1), bytes(BLOCK))
        await host.close()
        self.refused("NOT_FOUND", "", "test", "wipe", "replica", str(uuid.uuid4()))
        self.refused("INVALID_ARGUMENT", "chunk_size", "test", "wipe", "replica", identity, "--chunk-size", "1GiB")

    async def test_counters(self) -> None:
        client = self.under_test.client
        client("pool", "create", "pool0", self.disk())
        identity = self.create("r0", "8MiB", "-p", "nvmf")
        client("stats", "reset")
        host = await self.host("r0")
        await asyncio.gather(*(host.write(block, b"c" * BLOCK) for block in range(10)))
        await host.read(0, 4)
        await host.close()
        (replica,) = self.listed("stats", "replica", "r0")
        self.assertEqual((replica["stats"]["num_write_ops"], replica["stats"]["bytes_written"],
                          replica["stats"]["bytes_read"], replica["stats"]["uuid"]),
                         (10, 10 * BLOCK, 4 * BLOCK, identity))
        (pool,) = self.listed("stats", "pool")
        self.assertGreaterEqual(pool["num_write_ops"], 10)


def _snapshot_message(*texts: str | None) -> bytes:
    """Entity, parent, transaction, name, UUID, time; the payload of the vendor's snapshot command."""
    fields = (b"\0" if text is None else b"\1" + struct.pack("<Q", len(text)) + text.encode() for text in texts)
    return bytes(4) + b"".join(fields) + b"\0"


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


if __name__ == "__main__":
    unittest.main()
