"""Copies of snapshots into replicas, by gRPC and the client."""

import json
import unittest
import uuid

from engine_case import EngineCase, settled

MIB = 1 << 20


class SnapshotRebuilds(EngineCase):
    def setUp(self) -> None:
        super().setUp()
        self.under_test = self.engine()
        self.source, self.copy, self.snapshot = (str(uuid.uuid4()) for _ in range(3))
        client = self.under_test.client
        client("pool", "create", "pool0", "malloc:///disk0?size_mb=128")
        for name, identity in (("source", self.source), ("copy", self.copy)):
            client("replica", "create", name, identity, "pool0", "--size", "16MiB", "--thin")
        client("snapshot", "create_for_replica", self.source, "snap", "entity", "txn", self.snapshot)

    def job(self) -> dict:
        (job,) = json.loads(self.under_test.client("-o", "json", "snapshot-rebuild", "list", self.copy))["rebuilds"]
        return job

    def refused(self, code: str, *command: str, text: str = "") -> None:
        result = self.under_test.client_result("snapshot-rebuild", *command)
        self.assertEqual((result.returncode, result.stdout), (1, ""), command)
        self.assertTrue(result.stderr.startswith(f"error: {code}: {text}"), (command, result.stderr))

    async def test_create_list_destroy(self) -> None:
        client = self.under_test.client
        self.assertEqual(client("snapshot-rebuild", "create", self.copy, "bdev:///snap"),
                         f"Snapshot Rebuild {self.copy} created\n")
        await settled("the copy is complete", lambda: self.job()["status"] == 4, self.job)
        # Only the two clusters that every new replica has are allocated.
        self.assertEqual([self.job()[key] for key in ("total", "rebuilt", "remaining")], [16 * MIB, 8 * MIB, 0])
        header, row = client("snapshot-rebuild", "list").splitlines()
        self.assertEqual(header.split(), "REPLICA SNAPSHOT STATUS TOTAL REBUILT REMAINING START END".split())
        self.assertEqual(row.split()[:6], [self.copy, "bdev:///snap", "Successful", str(16 * MIB), str(8 * MIB), "0"])
        client("snapshot-rebuild", "create", self.copy, "bdev:///snap")  # the job that there is
        self.assertEqual(client("snapshot-rebuild", "destroy", self.copy), f"Snapshot Rebuild {self.copy} deleted\n")
        self.assertEqual(client("snapshot-rebuild", "list"), "No snapshot rebuilds found\n")

    async def test_refusals(self) -> None:
        self.refused("NOT_FOUND", "destroy", self.copy)
        self.refused("NOT_FOUND", "list", self.copy)
        self.refused("NOT_FOUND", "create", str(uuid.uuid4()), "bdev:///snap")
        self.refused("NOT_FOUND", "create", self.copy, "bdev:///missing")
        self.refused("INVALID_ARGUMENT", "create", self.copy, "bdev:///copy")
        self.under_test.client("bdev", "create", "malloc:///large?size_mb=17")
        self.refused("OUT_OF_RANGE", "create", self.copy, "bdev:///large")
        self.refused("INVALID_ARGUMENT", "create", self.snapshot, "bdev:///copy",
                     text=f'{self.snapshot} is a snapshot ("snap"), not a replica')

    async def test_a_replica_in_use_is_refused_and_one_that_is_written_is_in_use(self) -> None:
        client = self.under_test.client
        nexus = str(uuid.uuid4())
        client("nexus", "create", nexus, "16MiB", f"bdev:///copy?uuid={self.copy}")
        self.refused("FAILED_PRECONDITION", "create", self.copy, "bdev:///snap",
                     text="replica copy is in use: bdev 'copy' is already claimed by 'NEXUS_CAS_MODULE'")
        client("nexus", "destroy", nexus)
        client("replica", "share", self.copy, "nvmf")
        self.refused("FAILED_PRECONDITION", "create", self.copy, "bdev:///snap",
                     text="replica copy is in use: bdev 'copy' is already claimed by 'NVMe-oF Target'")
        client("replica", "unshare", self.copy)
        client("test", "inject", "--add", "inject://snap?op=read&stage=submit&method=delay-500")
        client("snapshot-rebuild", "create", self.copy, "bdev:///snap")
        result = self.under_test.client_result("nexus", "create", nexus, "16MiB", f"bdev:///copy?uuid={self.copy}")
        self.assertIn("claimed by 'snapshot rebuild'", result.stderr)
        result = self.under_test.client_result("replica", "share", self.copy, "nvmf")
        self.assertIn("claimed by snapshot rebuild", result.stderr)
        client("snapshot-rebuild", "destroy", self.copy)
        client("replica", "share", self.copy, "nvmf")


if __name__ == "__main__":
    unittest.main()
