"""The format's second implementation against itself: what it writes it reads, and it notices damage."""

import pathlib
import sys
import tempfile
import unittest

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "harness"))

from blobstore_image import PAGE, FormatError, Layout, PoolImage, PoolWriter, blob_id  # noqa: E402

MIB = 1 << 20
POOL_UUID = "8d63b2d6-5bd9-4ed6-9d2a-3ef9ec0e9ab1"


def uuid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012x}"


class BlobstoreImage(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="cairn-image-")
        self.addCleanup(folder.cleanup)
        self.path = pathlib.Path(folder.name) / "disk.img"

    def damage(self, offset: int, mask: int = 1) -> None:
        with open(self.path, "r+b") as file:
            file.seek(offset)
            byte = file.read(1)[0]
            file.seek(offset)
            file.write(bytes([byte ^ mask]))

    def write_family(self, clean: bool = True, version: int = 3) -> PoolWriter:
        writer = PoolWriter(self.path, 64 * MIB, "pool0", POOL_UUID, cluster=MIB)
        snapshot = writer.add_lvol("snap", uuid(1), 3, {0: b"a" * MIB, 2: b"b" * 100}, read_only=True)
        writer.add_lvol("clone", uuid(2), 3, {1: b"c"}, parent=snapshot.id)
        writer.add_lvol("thick", uuid(3), 2, {0: b"d"}, thin=False)
        writer.add_lvol("runs", uuid(4), 5, {1: b"e", 2: b"f", 4: b"g"}, table=False)
        writer.close(clean, version)
        return writer

    def test_layouts_of_the_description(self) -> None:
        small = Layout.plan(100 * MIB, 4 * MIB, 512, 100)
        self.assertEqual((small.clusters, small.md_len, small.md_start, small.md_clusters), (25, 25, 4, 1))
        large = Layout.plan(1 << 40, 4 * MIB, 512, 100)
        self.assertEqual((large.clusters, large.page_mask[1], large.md_start, large.md_clusters), (262144, 9, 28, 257))

    def test_what_is_written_is_read(self) -> None:
        for clean, version in ((True, 3), (False, 3), (True, 2), (False, 1)):
            with self.subTest(clean=clean, version=version):
                self.write_family(clean, version)
                with PoolImage(self.path) as image:
                    self.assertEqual((image.name, image.uuid, image.clean), ("pool0", POOL_UUID, clean))
                    self.assertEqual([blob.name for blob in image.lvols()], ["snap", "clone", "thick", "runs"])
                    clone = image.lvol("clone")
                    self.assertEqual(image.read(clone, 0, 10), b"a" * 10)
                    self.assertEqual(image.read(clone, MIB - 2, 4), b"aac\0")
                    self.assertEqual(image.read(clone, 2 * MIB + 98, 4), b"bb\0\0")
                    self.assertEqual(image.read(image.lvol("runs"), 4 * MIB, 2), b"g\0")
                    self.assertEqual(image.cluster_of(image.lvol("runs"), 0), 0)

    def test_long_chains_and_tables(self) -> None:
        writer = PoolWriter(self.path, 8192 * PAGE * 16, "pool0", POOL_UUID, cluster=16 * PAGE)
        data = {index: bytes([index % 251]) for index in range(0, 6000, 3)}
        writer.add_lvol("big", uuid(1), 6000, data, xattrs={f"x{i}": bytes(3000) for i in range(4)})
        writer.add_lvol("runs", uuid(2), 3000, {index: b"r" for index in range(0, 3000, 2)}, table=False)
        writer.close()
        with PoolImage(self.path) as image:
            big = image.lvol("big")
            self.assertEqual(len(big.chain), 4)
            self.assertEqual(len(big.extent_pages), 12)
            for index in (0, 3, 5997):
                self.assertEqual(image.read(big, index * 16 * PAGE, 1), bytes([index % 251]))

    def test_damage_is_noticed(self) -> None:
        layout = self.write_family().layout
        metadata = layout.md_start * PAGE
        for offset, what in ((3, "signature"), (2000, "CRC"), (layout.page_mask[0] * PAGE + 6, "used pages"),
                             (layout.cluster_mask[0] * PAGE + 7, "used clusters"), (layout.blobid_mask[0] * PAGE, "type"),
                             (metadata + 30, "damaged"), (metadata + 2 * PAGE + 40, "extent page 2 is damaged")):
            with self.subTest(what=what):
                self.write_family()
                self.damage(offset)
                with self.assertRaisesRegex(FormatError, what):
                    PoolImage(self.path)

    def test_shared_clusters_are_noticed(self) -> None:
        writer = PoolWriter(self.path, 64 * MIB, "pool0", POOL_UUID, cluster=MIB)
        first = writer.add_lvol("first", uuid(1), 1, {0: b"a"})
        writer._clusters.discard(first.clusters[0])
        writer.add_lvol("second", uuid(2), 1, {0: b"b"})
        writer.close()
        with self.assertRaisesRegex(FormatError, "cluster 1 of"):
            PoolImage(self.path)

    def test_an_interrupted_snapshot_is_undone(self) -> None:
        writer = PoolWriter(self.path, 64 * MIB, "pool0", POOL_UUID, cluster=MIB)
        origin = writer.add_lvol("origin", uuid(1), 1, {0: b"a"})
        snapshot = writer.add_lvol("snapshot", uuid(2), 1)
        snapshot.internal["SNAPTMP"] = origin.id.to_bytes(8, "little")
        snapshot.clusters = origin.clusters
        writer._put_blob(snapshot)
        writer.close(clean=False)
        with PoolImage(self.path) as image:
            self.assertEqual([blob.name for blob in image.lvols()], ["origin"])
            self.assertNotIn(blob_id(snapshot.chain[0]), image.blobs)


if __name__ == "__main__":
    unittest.main()
