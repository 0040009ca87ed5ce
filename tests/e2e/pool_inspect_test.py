"""pool-inspect on images that the format's second implementation (harness/blobstore_image.py) writes and reads."""

import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "harness"))

from blobstore_image import PAGE, PoolImage, PoolWriter, blob_id  # noqa: E402

TOOL = pathlib.Path(os.environ["CAIRN_BIN"]) / "pool-inspect"
TIMEOUT_S = 60 * float(os.environ.get("CAIRN_TIME_FACTOR", "1"))
MIB = 1 << 20
POOL_UUID = "8d63b2d6-5bd9-4ed6-9d2a-3ef9ec0e9ab1"
GOOD, PROBLEMS, USAGE, FAILED = range(4)


def uuid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012x}"


class PoolInspect(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="cairn-inspect-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.path = self.folder / "disk.img"

    def run_tool(self, *arguments, code: int = GOOD) -> str:
        done = subprocess.run([TOOL, *map(str, arguments)], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout if done.returncode in (GOOD, PROBLEMS) else done.stderr

    def run_json(self, *arguments, code: int = GOOD):
        return json.loads(self.run_tool(*arguments, "--json", code=code))

    def digest(self) -> str:
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    def damage(self, offset: int) -> None:
        with open(self.path, "r+b") as file:
            file.seek(offset)
            byte = file.read(1)[0]
            file.seek(offset)
            file.write(bytes([byte ^ 1]))

    def write_family(self, clean: bool = True) -> PoolWriter:
        writer = PoolWriter(self.path, 64 * MIB, "pool0", POOL_UUID, cluster=MIB)
        snapshot = writer.add_lvol("snap", uuid(1), 3, {0: b"a" * MIB, 2: b"b"}, read_only=True, xattrs={
            "io-engine.tx_id": b"tx", "io-engine.entity_id": b"volume", "io-engine.parent_id": uuid(9).encode(),
            "io-engine.snapshot_create_time": b"2024-10-09 11:22:33.123456789 UTC",
            "io-engine.discarded_snapshot": b"false"})
        writer.add_lvol("clone", uuid(2), 3, {1: b"c"}, parent=snapshot.id,
                        xattrs={"io-engine.source_uuid": uuid(1).encode(), "io-engine.clone_create_time": b"now"})
        writer.add_lvol("thick", uuid(3), 2, {0: b"d"}, thin=False, xattrs={"shared": b"true\0", "allowed-hosts": b"\0"})
        writer.add_lvol("runs", uuid(4), 5, {1: b"e", 2: b"f", 4: b"g"}, table=False)
        writer.close(clean)
        return writer

    def test_shows_what_was_written(self) -> None:
        for clean in (True, False):
            self.write_family(clean)
            before = self.digest()
            report = self.run_json("show", self.path)
            with PoolImage(self.path) as image:
                self.assertEqual(report["identity"], {"name": image.name, "uuid": image.uuid})
                self.assertEqual(report["super_block"]["clean"], clean)
                self.assertEqual(report["super_block"]["size"], 64 * MIB)
                self.assertEqual(report["super_block"]["md_start"], image.layout.md_start)
                self.assertEqual(report["layout"]["md_clusters"], image.layout.md_clusters)
                self.assertEqual(report["layout"]["capacity"], (64 - image.layout.md_clusters) * MIB)
                self.assertEqual([int(blob["id"], 16) for blob in report["blobs"]], sorted(image.blobs))
                for seen in report["blobs"]:
                    self.check_blob(seen, image)
                owned = len(image.owned_clusters) + image.layout.md_clusters
                self.assertEqual(report["usage"], {"pages": len(image.owned_pages), "clusters": owned})
                if clean:
                    self.assertEqual(report["masks"]["used_clusters"], {"length": 64, "set": owned})
            kinds = {blob["name"]: blob["kind"] for blob in report["blobs"]}
            self.assertEqual(kinds, {None: "super", "snap": "snapshot", "clone": "clone", "thick": "replica", "runs": "replica"})
            self.assertEqual([finding["problem"] for finding in report["findings"]], [] if clean else ["unclean"])
            self.assertIn("Pool pool0", self.run_tool("show", self.path))
            self.assertIn("io-engine.tx_id = tx (2 bytes)", self.run_tool("show", self.path, "--blob", 1))
            self.assertEqual(self.digest(), before)

    def check_blob(self, seen: dict, image: PoolImage) -> None:
        blob = image.blobs[int(seen["id"], 16)]
        self.assertEqual(seen["chain"], blob.chain)
        self.assertEqual(seen["thin"], blob.thin)
        self.assertEqual(seen["num_clusters"], len(blob.clusters))
        self.assertEqual(seen["allocated_clusters"], sum(1 for cluster in blob.clusters if cluster))
        clusters = [0] * len(blob.clusters)
        for index, first, length in seen["map"]:
            clusters[index:index + length] = range(first, first + length)
        self.assertEqual(clusters, blob.clusters)
        self.assertEqual(seen["parent"], blob.parent and f"{blob.parent:#x}")
        texts = {xattr["name"]: (xattr["text"], xattr["length"]) for xattr in seen["xattrs"]}
        self.assertEqual(texts, {name: (value.rstrip(b"\0").decode(), len(value)) for name, value in blob.xattrs.items()})
        if seen["kind"] != "super":
            self.assertEqual((seen["name"], seen["uuid"]), (blob.name, blob.uuid))

    def test_checks(self) -> None:
        self.write_family()
        self.assertEqual(self.run_tool("check", self.path), "0 errors, 0 warnings, 0 notes\n")
        self.write_family(clean=False)
        self.assertIn("note: unclean", self.run_tool("check", self.path, "--notes"))
        layout = self.write_family().layout
        self.damage((layout.md_start + 3) * PAGE + 100)  # the clone's root
        before = self.digest()
        self.assertIn("error: blob_missing", self.run_tool("check", self.path, code=PROBLEMS))
        findings = self.run_json("check", self.path, code=PROBLEMS)["findings"]
        self.assertIn({"severity": "error", "problem": "blob_missing"}, [
            {key: finding[key] for key in ("severity", "problem")} for finding in findings])
        self.assertEqual(self.digest(), before)

    def test_repairs_only_when_told(self) -> None:
        writer = self.write_family()
        layout = writer.layout
        original = self.path.read_bytes()
        self.damage(layout.cluster_mask[0] * PAGE + 5 + 6)  # bit 48: leaked
        self.damage(layout.page_mask[0] * PAGE + 5)  # bit 0: the super blob's page, free
        damaged = self.path.read_bytes()
        self.assertIn("to do: masks", self.run_tool("repair", self.path, code=PROBLEMS))
        self.assertEqual(self.path.read_bytes(), damaged)
        undo = self.folder / "undo"
        self.assertIn("done: masks", self.run_tool("repair", self.path, "--write", "--undo", undo))
        self.assertEqual(self.path.read_bytes(), original)
        with PoolImage(self.path) as image:
            self.assertTrue(image.clean)
        self.assertEqual(self.run_tool("check", self.path), "0 errors, 0 warnings, 0 notes\n")
        self.assertIn("nothing to repair", self.run_tool("repair", self.path, "--write"))

        self.run_tool("undo", self.path, undo, code=PROBLEMS)
        self.assertEqual(self.path.read_bytes(), original)
        self.run_tool("undo", self.path, undo, "--write")
        self.assertEqual(self.path.read_bytes(), damaged)
        self.assertIn("File exists", self.run_tool("repair", self.path, "--write", "--undo", undo, code=FAILED))
        self.assertEqual(self.path.read_bytes(), damaged)

    def test_gives_up_a_damaged_blob(self) -> None:
        layout = self.write_family().layout
        self.damage((layout.md_start + 3) * PAGE + 100)
        self.assertIn("nothing to repair without further options", self.run_tool("repair", self.path, "--write", code=PROBLEMS))
        self.run_tool("repair", self.path, "--write", "--drop-blob", hex(blob_id(3)))
        with PoolImage(self.path) as image:
            self.assertEqual([blob.name for blob in image.lvols()], ["snap", "thick", "runs"])

    def test_makes_a_lost_super_block_anew(self) -> None:
        self.write_family()
        with PoolImage(self.path) as image:
            digests = {blob.name: image.digest(blob) for blob in image.lvols()}
        with open(self.path, "r+b") as file:
            file.write(b"\xaa" * PAGE)
        self.assertIn("no signature", self.run_tool("repair", self.path, code=FAILED))
        wrong = self.run_tool("repair", self.path, "--rebuild-super-block", "--cluster-size", "2MiB", code=FAILED)
        self.assertIn("the device makes no pool", wrong)
        self.run_tool("repair", self.path, "--rebuild-super-block", "--cluster-size", "1MiB", "--write")
        with PoolImage(self.path) as image:
            self.assertEqual({blob.name: image.digest(blob) for blob in image.lvols()}, digests)

    def test_separates_what_two_blobs_share(self) -> None:
        writer = PoolWriter(self.path, 64 * MIB, "pool0", POOL_UUID, cluster=MIB)
        first = writer.add_lvol("first", uuid(1), 2, {0: b"a" * MIB, 1: b"b"})
        writer._clusters.discard(first.clusters[0])
        second = writer.add_lvol("second", uuid(2), 1, {0: b"c" * 10})
        self.assertEqual(second.clusters[0], first.clusters[0])
        writer.close()
        self.assertIn("error: cluster_shared", self.run_tool("repair", self.path, code=PROBLEMS))
        self.run_tool("repair", self.path, "--separate-shared", "--write")
        with PoolImage(self.path) as image:
            contents = [image.read(image.lvol(name), 0, MIB) for name in ("first", "second")]
            self.assertEqual(contents, [b"c" * 10 + b"a" * (MIB - 10)] * 2)

    def test_refusals(self) -> None:
        self.assertIn("No such file", self.run_tool("show", self.folder / "nothing", code=FAILED))
        self.assertIn("neither a file nor a block device", self.run_tool("check", self.folder, code=FAILED))
        self.run_tool("show", code=USAGE)
        self.run_tool("mend", self.path, code=USAGE)
        self.path.write_bytes(bytes(MIB))
        self.assertIn("error: no_pool", self.run_tool("check", self.path, code=PROBLEMS))
        self.write_family()
        self.assertIn("no blob id", self.run_tool("repair", self.path, "--drop-blob", "x", code=USAGE))
        self.assertIn("no such blob", self.run_tool("repair", self.path, "--drop-blob", "60", code=USAGE))
        self.assertIn("cannot be dropped", self.run_tool("repair", self.path, "--drop-blob", "0", code=USAGE))
        self.assertIn("no blob", self.run_tool("show", self.path, "--blob", "77", code=FAILED))


if __name__ == "__main__":
    unittest.main()
