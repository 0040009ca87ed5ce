"""Faults injected into devices through the API."""

import json
import unittest
import uuid

from engine_case import EngineCase


class FaultInjectionTest(EngineCase):
    def setUp(self) -> None:
        super().setUp()
        self.under_test = self.engine()
        self.under_test.client("pool", "create", "pool0", "malloc:///disk0?size_mb=64")
        self.replica = str(uuid.uuid4())
        self.under_test.client("replica", "create", "replica0", self.replica, "pool0", "--size", "16MiB")

    def faults(self) -> list[dict]:
        return json.loads(self.under_test.client("test", "inject"))

    def checksum(self):
        return self.under_test.client_result("test", "wipe", "replica", self.replica, "--method", "CheckSum")

    def test_of_a_replica_and_of_its_disk(self) -> None:
        self.assertEqual(self.checksum().returncode, 0)
        for device in ("replica0", "disk0"):
            uri = f"inject://{device}?op=read&stage=compl&retries=1"
            self.assertEqual(self.under_test.client("test", "inject", "--add", uri), f"Injection: '{uri}'\n")
            self.assertEqual(self.faults(), [{"uri": uri, "device_name": device, "is_active": True}])
            failed = self.checksum()
            self.assertEqual(failed.returncode, 1)
            self.assertIn("DATA_LOSS", failed.stderr)
            self.assertFalse(self.faults()[0]["is_active"])
            self.under_test.client("test", "inject", "--remove", uri)
            self.assertEqual(self.faults(), [])
            self.assertEqual(self.checksum().returncode, 0)

    def test_refusals(self) -> None:
        for uri in ("inject://x?op=erase", "inject://x?unknown=1", "malloc:///x?size_mb=1"):
            for option in ("--add", "--remove"):
                refused = self.under_test.client_result("test", "inject", option, uri)
                self.assertEqual(refused.returncode, 1)
                self.assertIn("INVALID_ARGUMENT", refused.stderr)


if __name__ == "__main__":
    unittest.main()
