"""What an administrator asks through nvme-cli, and whether the answers are right.

Sources: NVMe Base 2.0, figures of Identify and the log pages; the strings are those of the product's contract. Limits
may be larger than the original's, so they are only checked from below.
"""

import hashlib
import re
import uuid

from engine import Engine
from nvme_host import Controller
from scenario import Rig, expect, expect_equal, scenario

UUID = uuid.UUID("4f1bd6d5-6b9c-4c53-9d20-0b1f4e3d2c1a")
SIZE_MIB = 64

CMIC_ANA = 1 << 3
ONCS = {"compare": 1 << 0, "dataset management": 1 << 2, "write zeroes": 1 << 3, "reservations": 1 << 5, "copy": 1 << 8}
RESCAP_ALL_TYPES = 0x7E

PROPERTY_CAP, PROPERTY_VS, PROPERTY_CC, PROPERTY_CSTS = 0x00, 0x08, 0x14, 0x1C
FEATURE_WRITE_CACHE, FEATURE_QUEUES = 0x06, 0x07


def _connected(rig: Rig, engine: Engine) -> tuple[str, Controller]:
    nqn = engine.create_and_share(f"malloc:///cli?size_mb={SIZE_MIB}&uuid={UUID}")
    return nqn, rig.host.connect(nqn, engine.port)


def expect_at_least(actual: int, least: int, what: str) -> None:
    expect(actual >= least, f"{what}: expected at least {least}, got {actual}")


@scenario()
def discovery_and_subsystems(rig: Rig) -> None:
    with rig.engine() as engine:
        nqn, controller = _connected(rig, engine)
        (record,) = [record for record in rig.host.discover(engine.port) if record["subnqn"] == nqn]
        expect_equal({key: record[key] for key in ("trtype", "adrfam", "subtype", "traddr", "trsvcid")},
                     {"trtype": "tcp", "adrfam": "ipv4", "subtype": "nvme subsystem", "traddr": "127.0.0.1",
                      "trsvcid": str(engine.port)}, "discovery record")
        (host,) = rig.host.json("list-subsys")
        (subsystem,) = [entry for entry in host["Subsystems"] if entry["NQN"] == nqn]
        (path,) = subsystem["Paths"]
        expect_equal((path["Name"], path["Transport"], path["State"]), (controller.name, "tcp", "live"), "path")

        engine.client("bdev", "unshare", "cli")
        remaining = [record["subnqn"] for record in rig.host.discover(engine.port)]
        expect(nqn not in remaining, f"discovery still shows {nqn} after unshare")


@scenario()
def identify(rig: Rig) -> None:
    with rig.engine() as engine:
        nqn, controller = _connected(rig, engine)
        ctrl = rig.host.json(f"id-ctrl {controller.character_device}")
        expect_equal(ctrl["mn"].rstrip(), "Mayastor NVMe controller", "model number")
        expect_equal(ctrl["sn"], "DCS" + hashlib.sha256(UUID.bytes).hexdigest().upper()[:17], "serial number")
        expect_equal(ctrl["subnqn"], nqn, "SUBNQN")
        expect_equal(ctrl["nn"], 1, "NN")
        expect_equal((ctrl["sqes"], ctrl["cqes"]), (0x66, 0x44), "SQES and CQES")
        expect(ctrl["vwc"] & 1, "VWC: no volatile write cache announced")
        expect(ctrl["fuses"] & 1, "FUSES: no compare-and-write announced")
        expect(ctrl["sgls"] & 3, "SGLS: not supported")
        for name, bit in ONCS.items():
            expect(ctrl["oncs"] & bit, f"ONCS: no {name} announced ({ctrl['oncs']:#x})")
        expect(ctrl["mdts"] == 0 or ctrl["mdts"] >= 5, f"MDTS: less than 128 KiB ({ctrl['mdts']})")
        expect_at_least(ctrl["ioccsz"], 260, "IOCCSZ")
        expect_at_least(ctrl["maxcmd"], 32, "MAXCMD")
        expect_at_least(ctrl["kas"], 1, "KAS")

        ns = rig.host.json(f"id-ns {controller.device}")
        expect_equal((ns["nsze"], ns["ncap"]), (SIZE_MIB * 2048, SIZE_MIB * 2048), "NSZE and NCAP")
        expect_equal(ns["lbafs"][ns["flbas"] & 15]["ds"], 9, "LBADS")
        expect_equal(ns["nguid"], UUID.hex, "NGUID")
        expect_equal(ns["eui64"], "0" * 16, "EUI64")
        expect(ns["nmic"] & 1, "NMIC: not shared")
        expect_equal(ns["rescap"] & RESCAP_ALL_TYPES, RESCAP_ALL_TYPES, "RESCAP: types")

        descriptors = {entry["type"]: entry for entry in rig.host.json(f"ns-descs {controller.device}")["ns-descs"]}
        expect_equal(uuid.UUID(descriptors["uuid"]["uuid"]), UUID, "UUID descriptor")
        expect_equal(uuid.UUID(descriptors["nguid"]["nguid"]), UUID, "NGUID descriptor")
        active = rig.host.json(f"list-ns {controller.character_device}")["nsid_list"]
        expect_equal([entry["nsid"] for entry in active], [1], "active namespaces")


@scenario()
def logs_features_properties(rig: Rig) -> None:
    with rig.engine() as engine:
        _, controller = _connected(rig, engine)
        admin = controller.character_device
        smart = rig.host.json(f"smart-log {admin}")
        expect_equal((smart["critical_warning"], smart["media_errors"]), (0, "0"), "SMART: warnings and media errors")
        expect(rig.host.json(f"error-log {admin}")["errors"], "the error log has no entries at all")
        expect("nvme" in str(rig.host.json(f"fw-log {admin}")), "the firmware log is empty")
        rig.host.json(f"changed-ns-list-log {admin}")
        if rig.host.json(f"id-ctrl {admin}")["cmic"] & CMIC_ANA:
            groups = rig.host.json(f"ana-log {admin}")["ANA DESC LIST "]
            expect_equal([(group["grpid"], group["state"]) for group in groups], [(1, "optimized")], "ANA groups")
        else:
            status, output = rig.guest.run(f"nvme ana-log {admin}")
            expect(status != 0, f"an ANA log without announcing ANA: {output}")

        expect_equal(_feature(rig, admin, FEATURE_WRITE_CACHE) & 1, 1, "write cache enabled")
        queues = _feature(rig, admin, FEATURE_QUEUES)
        expect_at_least(min(queues & 0xFFFF, queues >> 16) + 1, 4, "I/O queues allocated")

        cap = _property(rig, admin, PROPERTY_CAP)
        expect_at_least((cap & 0xFFFF) + 1, 32, "CAP.MQES")
        expect(cap >> 37 & 1, f"CAP.CSS has no NVM command set ({cap:#x})")
        expect_at_least(_property(rig, admin, PROPERTY_VS), 0x10300, "VS")
        expect_equal(_property(rig, admin, PROPERTY_CC) & 1, 1, "CC.EN")
        expect_equal(_property(rig, admin, PROPERTY_CSTS) & 3, 1, "CSTS.RDY without CSTS.CFS")


def _feature(rig: Rig, admin: str, feature: int) -> int:
    output = rig.guest.check(f"nvme get-feature {admin} --feature-id={feature}")
    return int(re.search(r"Current value: ?(0x[0-9a-fA-F]+)", output)[1], 16)


def _property(rig: Rig, admin: str, offset: int) -> int:
    output = rig.guest.check(f"nvme get-property {admin} --offset={offset}")
    return int(re.search(r"value: ?([0-9a-fA-F]+)", output)[1], 16)
