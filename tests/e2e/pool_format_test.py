"""Pools of a real engine against the format's second implementation (harness/blobstore_image.py): what the engine writes is read by
that, what that writes is imported by the engine, and disks that the engine refuses stay as they are."""

import hashlib
import json
import pathlib
import random
import struct
import subprocess
import unittest

from engine_case import BIN, TIME_FACTOR, Engine, EngineCase  # first: it knows the way to the harness
from blobstore_image import CLEAR_UNMAP, PAGE, PoolImage, PoolWriter, sealed
from engine_process import NQN_PREFIX
from nvme_tcp_host import Controller

MIB = 1 << 20
CLUSTER = MIB
DISK = 256 * MIB
SMALL_DISK = 32 * MIB
POOL_UUID = "8d63b2d6-5bd9-4ed6-9d2a-3ef9ec0e9ab1"
IO_BYTES = 64 << 10
TIMEOUT_S = 60 * TIME_FACTOR


def uuid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012x}"


class Volume:
    """A shared replica and what it must hold."""

    def __init__(self, name: str, number: int, content: bytes):
        self.name, self.uuid, self.content = name, uuid(number), bytearray(content)
        self.host: Controller | None = None

    async def connect(self, engine: Engine) -> None:
        engine.client("replica", "share", self.uuid, "nvmf")
        self.host = await Controller.connect("127.0.0.1", engine.port, NQN_PREFIX + self.name)

    async def write(self, offset: int, data: bytes) -> None:
        block = self.host.block_size
        for start in range(0, len(data), IO_BYTES):
            await self.host.write((offset + start) // block, data[start:start + IO_BYTES])
        self.content[offset:offset + len(data)] = data

    async def write_randomly(self, dice: random.Random, times: int) -> None:
        for _ in range(times):
            length = dice.choice((4096, 16384, IO_BYTES, 3 * IO_BYTES))
            offset = dice.randrange((len(self.content) - length) // 4096 + 1) * 4096
            await self.write(offset, dice.randbytes(length))

    async def read(self) -> bytes:
        blocks = IO_BYTES // self.host.block_size
        return b"".join([await self.host.read(start, blocks) for start in range(0, self.host.num_blocks, blocks)])

    async def disconnect(self) -> None:
        await self.host.close()


class PoolCase(EngineCase):
    def setUp(self) -> None:
        super().setUp()
        self.disk = self.folder / "disk.img"
        self.uri = f"aio://{self.disk}"

    def make_disk(self, size: int = DISK) -> None:
        with self.disk.open("wb") as file:
            file.truncate(size)

    def digest(self) -> str:
        return hashlib.sha256(self.disk.read_bytes()).hexdigest()

    def inspect(self, *arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run([BIN / "pool-inspect", *arguments], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)

    def check_disk(self) -> None:
        done = self.inspect("check", str(self.disk))
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    @staticmethod
    def listed(engine: Engine, what: str, key: str) -> list[dict]:
        return json.loads(engine.client("-o", "json", what, "list")).get(key, [])


class EngineWrites(PoolCase):
    """What the engine has written, somebody else reads."""

    def check_contents(self, volumes: list[Volume]) -> None:
        with PoolImage(self.disk) as image:
            self.assertEqual({blob.name for blob in image.lvols()}, {volume.name for volume in volumes})
            for volume in volumes:
                blob = image.lvol(volume.name)
                self.assertEqual(blob.uuid, volume.uuid)
                self.assertEqual(len(blob.clusters) * CLUSTER, len(volume.content))
                self.assertEqual(image.digest(blob), hashlib.sha256(volume.content).hexdigest(), volume.name)

    async def test_replicas_snapshots_and_clones(self) -> None:
        self.make_disk()
        dice = random.Random(1)
        thick, thin = Volume("thick", 1, bytes(12 * MIB)), Volume("thin", 2, bytes(20 * MIB))
        with self.new_engine() as engine:
            engine.client("pool", "create", "tpool", self.uri, "--uuid", POOL_UUID, "--cluster-size", "1MiB")
            engine.client("replica", "create", thick.name, thick.uuid, POOL_UUID, "--size", "12MiB")
            engine.client("replica", "create", thin.name, thin.uuid, POOL_UUID, "--size", "20MiB", "--thin")
            for volume in (thick, thin):
                await volume.connect(engine)
                await volume.write_randomly(dice, 30)
            snapshots = []
            for number, origin in enumerate((thin, thick, thin)):
                snapshot = Volume(f"snapshot{number}", 10 + number, origin.content)
                engine.client("snapshot", "create_for_replica", origin.uuid, snapshot.name, "volume-1", f"txn{number}", snapshot.uuid)
                snapshots.append(snapshot)
                await origin.write_randomly(dice, 10)
            clone = Volume("clone", 20, snapshots[0].content)
            engine.client("snapshot", "create_clone", snapshots[0].uuid, clone.name, clone.uuid)
            await clone.connect(engine)
            await clone.write_randomly(dice, 10)
            everything = [thick, thin, clone, *snapshots]
            for volume in (thick, thin, clone):
                self.assertEqual(await volume.read(), volume.content, volume.name)
                await volume.host.flush()
                await volume.disconnect()
            engine.client("pool", "export", "tpool")
            self.check_contents(everything)
            self.check_attributes()
            self.check_disk()

            engine.client("pool", "import", "tpool", self.uri)
            engine.client("replica", "resize", thin.uuid, "24MiB")
            thin.content += bytes(4 * MIB)
            engine.client("snapshot", "destroy", snapshots[2].uuid)
            engine.client("replica", "destroy", clone.uuid)
            await thin.connect(engine)
            await thin.write(22 * MIB, dice.randbytes(MIB))
            await thin.disconnect()
            engine.client("pool", "export", "tpool")
            self.check_contents([thick, thin, snapshots[0], snapshots[1]])
            self.check_disk()
            engine.stop()

    def check_attributes(self) -> None:
        with PoolImage(self.disk) as image:
            self.assertEqual((image.name, image.uuid, image.clean), ("tpool", POOL_UUID, True))
            thin = image.lvol("thin")
            self.assertEqual(len(thin.xattrs["name"]), 64)
            self.assertEqual(len(thin.xattrs["uuid"]), 37)
            self.assertEqual(thin.xattrs["shared"], b"true\0")
            self.assertEqual(thin.parent, image.lvol("snapshot2").id)
            self.assertEqual(image.lvol("snapshot2").parent, image.lvol("snapshot0").id)
            snapshot = image.lvol("snapshot1")
            self.assertFalse(snapshot.thin)
            self.assertEqual(snapshot.data_ro_flags, 1)
            self.assertEqual(list(snapshot.xattrs), ["name", "uuid", "io-engine.tx_id", "io-engine.entity_id", "io-engine.parent_id",
                                                     "io-engine.snapshot_create_time", "io-engine.discarded_snapshot"])
            self.assertEqual(snapshot.xattrs["io-engine.parent_id"], uuid(1).encode())
            self.assertEqual(snapshot.xattrs["io-engine.tx_id"], b"txn1")
            self.assertRegex(snapshot.text("io-engine.snapshot_create_time"), r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{3,9})? UTC$")
            clone = image.lvol("clone")
            self.assertEqual(list(clone.xattrs)[:4], ["name", "uuid", "io-engine.source_uuid", "io-engine.clone_create_time"])
            self.assertEqual(clone.text("io-engine.source_uuid"), uuid(10))
            self.assertEqual(clone.parent, image.lvol("snapshot0").id)

    async def test_a_killed_engine(self) -> None:
        self.make_disk()
        dice = random.Random(2)
        thin, thick = Volume("thin", 1, bytes(16 * MIB)), Volume("thick", 2, bytes(8 * MIB))
        with self.new_engine() as engine:
            engine.client("pool", "create", "tpool", self.uri, "--cluster-size", "1MiB")
            engine.client("replica", "create", "tpool", "thin", "--size", "16MiB", "--thin")
            thin.uuid = self.listed(engine, "replica", "replicas")[0]["uuid"]
            pool_uuid = self.listed(engine, "pool", "pools")[0]["uuid"]
            engine.client("replica", "create", thick.name, thick.uuid, pool_uuid, "--size", "8MiB")
            for round_number in range(4):
                for volume in (thin, thick):
                    await volume.connect(engine)
                    await volume.write_randomly(dice, 8)
                    await volume.host.flush()
                    volume.host.reset()
                engine.kill()
                with PoolImage(self.disk) as image:
                    self.assertFalse(image.clean)
                self.check_contents([thin, thick])
                self.check_disk()
                engine.start()
                engine.client("pool", "import", "tpool", self.uri)
                self.assertEqual(len(self.listed(engine, "replica", "replicas")), 2, round_number)
            engine.client("pool", "destroy", "tpool")
            engine.stop()
        done = self.inspect("check", str(self.disk))
        self.assertIn("no_pool", done.stdout)


class EngineImports(PoolCase):
    """What somebody else has written, the engine takes over."""

    def write_image(self, clean: bool, version: int) -> list[Volume]:
        dice = random.Random(3)
        writer = PoolWriter(self.disk, DISK, "other", POOL_UUID, cluster=CLUSTER, clear=CLEAR_UNMAP)
        content = {index: dice.randbytes(CLUSTER) for index in (0, 3)}
        snapshot = writer.add_lvol("snapshot", uuid(1), 4, content, read_only=True, xattrs={
            "io-engine.tx_id": b"tx", "io-engine.entity_id": b"volume", "io-engine.parent_id": uuid(2).encode(),
            "io-engine.snapshot_create_time": b"2024-10-09 11:22:33.123456789 UTC",
            "io-engine.discarded_snapshot": b"false"})
        base = content[0] + bytes(2 * CLUSTER) + content[3]
        changed = dice.randbytes(CLUSTER)
        writer.add_lvol("origin", uuid(2), 4, {1: changed}, parent=snapshot.id, xattrs={"entity_id": b"volume\0"})
        writer.add_lvol("clone", uuid(3), 4, {}, parent=snapshot.id, xattrs={
            "io-engine.source_uuid": uuid(1).encode(), "io-engine.clone_create_time": b"2024-10-09 12:00:00 UTC"})
        filling = dice.randbytes(3 * CLUSTER)
        writer.add_lvol("thick", uuid(4), 3, {i: filling[i * CLUSTER:][:CLUSTER] for i in range(3)}, thin=False)
        runs = dice.randbytes(CLUSTER)
        writer.add_lvol("runs", uuid(5), 5, {2: runs}, table=False)
        writer.add_lvol("wide", uuid(6), 600, {599: runs})
        writer.close(clean, version)
        return [Volume("origin", 2, base[:CLUSTER] + changed + base[2 * CLUSTER:]), Volume("clone", 3, base),
                Volume("thick", 4, filling), Volume("runs", 5, bytes(2 * CLUSTER) + runs + bytes(2 * CLUSTER))]

    async def import_and_use(self, clean: bool, version: int) -> None:
        volumes = self.write_image(clean, version)
        dice = random.Random(4)
        with self.new_engine() as engine:
            engine.client("pool", "import", "other", self.uri)
            pool, = self.listed(engine, "pool", "pools")
            self.assertEqual((pool["name"], pool["uuid"]), ("other", POOL_UUID))
            listed = {replica["name"]: replica for replica in self.listed(engine, "replica", "replicas")}
            self.assertEqual(set(listed), {"snapshot", "origin", "clone", "thick", "runs", "wide"})
            self.assertEqual([name for name, replica in listed.items() if replica.get("is_snapshot")], ["snapshot"])
            self.assertEqual([name for name, replica in listed.items() if replica.get("is_clone")], ["clone"])
            self.assertEqual(listed["origin"]["entity_id"], "volume")
            for volume in volumes:
                await volume.connect(engine)
                self.assertEqual(await volume.read(), volume.content, volume.name)
                await volume.write_randomly(dice, 6)
                self.assertEqual(await volume.read(), volume.content, volume.name)
                await volume.disconnect()
            engine.client("pool", "export", "other")
            engine.stop()
        self.check_disk()
        with PoolImage(self.disk) as image:
            self.assertEqual(len(image.lvols()), 6)
            for volume in volumes:
                self.assertEqual(image.digest(image.lvol(volume.name)), hashlib.sha256(volume.content).hexdigest(), volume.name)

    async def test_an_exported_pool(self) -> None:
        await self.import_and_use(clean=True, version=3)

    async def test_a_pool_that_was_not_exported(self) -> None:
        await self.import_and_use(clean=False, version=3)

    async def test_old_versions(self) -> None:
        for version in (1, 2):
            with self.subTest(version=version):
                await self.import_and_use(clean=True, version=version)


class Refusals(PoolCase):
    """A disk that is not blank is never formatted, and a refusal changes nothing."""

    def refused(self, engine: Engine, *command: str, text: str) -> None:
        before = self.digest()
        done = engine.client_result(*command)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn(text, done.stderr)
        self.assertEqual(self.digest(), before)

    def patch(self, offset: int, data: bytes) -> None:
        with self.disk.open("r+b") as file:
            file.seek(offset)
            file.write(data)

    async def test_foreign_data(self) -> None:
        mbr = bytes(4) + b"\x83" + bytes(3) + struct.pack("<II", 2048, 4096)
        cases = {"ext2": [(1024, struct.pack("<II", 64, 8192)), (1024 + 56, b"\x53\xef"), (1024 + 76, b"\1")],
                 "crypto_LUKS": [(0, b"LUKS\xba\xbe\0\1")],
                 "dos": [(446, mbr), (510, b"\x55\xaa")],
                 "linux_raid_member": [(SMALL_DISK - (64 << 10), struct.pack("<III", 0xA92B4EFC, 0, 90))]}
        with self.new_engine() as engine:
            for kind, patches in cases.items():
                with self.subTest(kind=kind):
                    self.make_disk(SMALL_DISK)
                    for offset, data in patches:
                        self.patch(offset, data)
                    self.refused(engine, "pool", "create", "tpool", self.uri, text=kind)
                    self.refused(engine, "pool", "import", "tpool", self.uri, text="")
            engine.stop()

    async def test_damaged_and_other_pools(self) -> None:
        def write() -> None:
            PoolWriter(self.disk, SMALL_DISK, "tpool", POOL_UUID, cluster=CLUSTER).close()

        def super_field(offset: int, data: bytes) -> None:
            page = bytearray(self.disk.read_bytes()[:PAGE])
            page[offset:offset + len(data)] = data
            self.patch(0, sealed(bytes(page)))

        damages = {"crc": lambda: self.patch(2000, b"x"), "version": lambda: super_field(8, b"\4"),
                   "bstype": lambda: super_field(56, b"SOMETHING"),
                   "size": lambda: super_field(80, struct.pack("<Q", SMALL_DISK + PAGE)),
                   "cluster_size": lambda: super_field(28, struct.pack("<I", 5000))}
        with self.new_engine() as engine:
            for what, damage in damages.items():
                with self.subTest(what=what):
                    write()
                    damage()
                    self.refused(engine, "pool", "import", "tpool", self.uri, text=what)
                    self.refused(engine, "pool", "create", "tpool", self.uri, text=what)
            write()
            self.refused(engine, "pool", "create", "another", self.uri, text="tpool")
            self.refused(engine, "pool", "create", "tpool", self.uri, "--uuid", uuid(99), text=POOL_UUID)
            self.patch(0, bytes(PAGE))
            self.refused(engine, "pool", "create", "tpool", self.uri, text="super block")
            engine.stop()

    async def test_a_pool_that_is_there(self) -> None:
        self.make_disk(SMALL_DISK)
        with self.new_engine() as engine:
            engine.client("pool", "create", "tpool", self.uri)
            other = pathlib.Path(f"{self.disk}2")
            with other.open("wb") as file:
                file.truncate(SMALL_DISK)
            self.refused(engine, "pool", "create", "tpool", f"aio://{other}", text="tpool")
            self.refused(engine, "pool", "create", "another", self.uri, text="")
            self.refused(engine, "pool", "import", "tpool", self.uri, text="")
            self.assertEqual(other.read_bytes(), bytes(SMALL_DISK))
            engine.client("pool", "destroy", "tpool")
            engine.client("pool", "create", "tpool", self.uri)  # a destroyed pool leaves nothing
            engine.client("pool", "destroy", "tpool")
            engine.stop()


if __name__ == "__main__":
    unittest.main()
