"""Snapshots of a nexus over real engines: by gRPC and the client, one moment under load, results of each replica."""

import json
import unittest
import uuid

from engine_case import settled
from nexus_test import BLOCK, DATA_START, MIB, NexusCase, blobstore_image


class NexusSnapshots(NexusCase):
    def take(self, name: str, snapshots: list[str], *, replicas: list[str] | None = None) -> list[str]:
        return ["snapshot", "create_for_nexus", self.identity, "volume", "txn", name,
                ",".join(replicas or self.replicas[:3]), ",".join(snapshots)]

    @staticmethod
    def uuids() -> list[str]:
        return [str(uuid.uuid4()) for _ in range(3)]

    def num_writes(self) -> int:
        (stats,) = json.loads(self.under_test.client("-o", "json", "stats", "nexus"))["stats"]
        return int(stats["num_write_ops"])

    async def test_one_moment_under_load(self) -> None:
        engines = self.engines(3)
        self.create(self.uris(engines))
        path = self.publish()
        load = self.load(path.replace("nvmf+tcp", "nvmf"), "--time", "4s")
        await settled("the load writes", lambda: self.num_writes() > 100, self.num_writes)
        snapshots = self.uuids()
        header, *rows = self.under_test.client(*self.take("snap0", snapshots)).splitlines()
        self.assertEqual(header.split(), "NEXUS_UUID NEXUS_SIZE NEXUS_STATE REPLICA_UUID STATUS".split())
        self.assertEqual([row.split() for row in rows],
                         [[self.identity, str(16 * MIB), "online", replica, "0"] for replica in self.replicas[:3]])
        self.finished(load)

        # The same identifiers again: every replica says so, and the call succeeds.
        answer = json.loads(self.under_test.client("-o", "json", *self.take("snap0", snapshots)))
        self.assertEqual(answer["replicas_done"],
                         [{"replica_uuid": replica, "status_code": 17} for replica in self.replicas[:3]])
        self.assertEqual(answer["replicas_skipped"], [])
        times = set()
        for index, engine in enumerate(engines):
            (listed,) = json.loads(engine.client("-o", "json", "snapshot", "list"))["snapshots"]
            self.assertEqual([listed[key] for key in ("snapshot_uuid", "snapshot_name", "source_uuid", "entity_id", "txn_id")],
                             [snapshots[index], "snap0", self.replicas[index], "volume", "txn"])
            self.assertTrue(listed["valid_snapshot"])
            times.add(listed["timestamp"])
        self.assertEqual(len(times), 1)

        contents = set()
        for index, engine in enumerate(engines):
            engine.stop()
            with blobstore_image.PoolImage(self.disk(index)) as image:
                contents.add(image.read(image.lvol("snap0"), DATA_START, 16 * MIB - BLOCK))
        self.assertEqual(len(contents), 1)
        self.assertTrue(any(contents.pop()), "nothing but zeroes")

    async def test_a_replica_that_is_left_out(self) -> None:
        engines = self.engines(3)
        self.create(self.uris(engines))
        snapshots = self.uuids()
        self.under_test.client("nexus", "child", "offline", self.identity, self.uri(engines[1], 1))

        def take(name: str, replicas: list[dict]) -> tuple[str, ...]:
            return ("call", "SnapshotRpc/CreateNexusSnapshot", json.dumps(
                {"nexusUuid": self.identity, "entityId": "volume", "txnId": "txn", "snapshotName": name, "replicas": replicas}))

        replicas = [{"replicaUuid": self.replicas[0], "snapshotUuid": snapshots[0]},
                    {"replicaUuid": self.replicas[1], "skip": True},  # neither healthy nor with an identity
                    {"replicaUuid": self.replicas[2], "snapshotUuid": snapshots[2]}]
        answer = json.loads(self.under_test.client(*take("snap0", replicas)))
        self.assertEqual(answer["replicas_done"],
                         [{"replica_uuid": self.replicas[index], "status_code": 0} for index in (0, 2)])
        self.assertEqual(answer["replicas_skipped"], [self.replicas[1]])
        self.assertEqual([answer["nexus"][key] for key in ("uuid", "state")], [self.identity, 2])
        for index, engine in enumerate(engines):
            listed = json.loads(engine.client("-o", "json", "snapshot", "list"))["snapshots"]
            self.assertEqual([each["snapshot_uuid"] for each in listed], [] if index == 1 else [snapshots[index]])
            for each in listed:
                self.assertEqual(each["timestamp"], answer["snapshot_timestamp"])

        self.refused("INTERNAL", "Snapshot UUID", *take("s", [{"replicaUuid": self.replicas[0]}, *replicas[1:]]))
        self.refused("INTERNAL", "Nexus has 3 replicas", *take("s", replicas[:2]))
        self.refused("INTERNAL", "Duplicated replica", *take("s", [replicas[1], replicas[1], replicas[2]]))
        everybody = [{"replicaUuid": replica, "skip": True} for replica in self.replicas[:3]]
        nobody = json.loads(self.under_test.client(*take("s", everybody)))
        self.assertEqual((nobody["replicas_done"], nobody["replicas_skipped"]), ([], self.replicas[:3]))

    async def test_refusals(self) -> None:
        engines = self.engines(3)
        self.create(self.uris(engines))
        snapshots = self.uuids()
        self.refused("INVALID_ARGUMENT", "each replica needs one", *self.take("s", snapshots[:2]))
        self.refused("INTERNAL", "Nexus has 3 replicas", *self.take("s", snapshots[:2], replicas=self.replicas[:2]))
        self.refused("INTERNAL", "Duplicated replica",
                     *self.take("s", snapshots, replicas=[self.replicas[0], self.replicas[1], self.replicas[0]]))
        self.refused("INTERNAL", "is not a child", *self.take("s", snapshots, replicas=self.replicas[1:4]))
        self.under_test.client("nexus", "child", "offline", self.identity, self.uri(engines[2], 2))
        self.refused("INTERNAL", "is not healthy", *self.take("s", snapshots))
        self.under_test.client("nexus", "shutdown", self.identity)
        self.refused("FAILED_PRECONDITION", "Nexus is shutdown", *self.take("s", snapshots))
        self.under_test.client("nexus", "destroy", self.identity)
        self.refused("NOT_FOUND", self.identity, *self.take("s", snapshots))


if __name__ == "__main__":
    unittest.main()
