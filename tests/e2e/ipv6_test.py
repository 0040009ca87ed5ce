"""The target on an IPv6 address."""

import socket
import unittest

from engine_case import EngineCase
from nvme_tcp_host import DISCOVERY_NQN, Controller

ADRFAM_IPV6 = 2


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        return True
    except OSError:
        return False


@unittest.skipUnless(has_ipv6(), "this machine has no IPv6 loopback address")
class Ipv6(EngineCase):
    async def serves(self, engine) -> None:
        nqn = engine.create_and_share("malloc:///m0?size_mb=8")
        self.assertEqual(engine.bdev("m0")["SHARE_URI"], f"nvmf+tcp://[::1]:{engine.port}/{nqn}")
        discovery = await Controller.connect("::1", engine.port, DISCOVERY_NQN)
        entry = (await discovery.get_log_page(0x70, 2048))[1024:]
        self.assertEqual(entry[1], ADRFAM_IPV6)
        self.assertEqual(entry[512:768].strip(b"\0 "), b"::1")  # TRADDR
        await discovery.close()
        host = await Controller.connect("::1", engine.port, nqn)
        await host.write(0, b"six".ljust(512, b"\0"))
        self.assertTrue((await host.read(0, 1)).startswith(b"six"))
        await host.close()

    async def test_an_address_by_the_interface_selector(self) -> None:
        await self.serves(self.engine("-T", "ip:::1"))

    async def test_an_address_by_the_pod(self) -> None:
        await self.serves(self.engine(environment={"MY_POD_IP": "::1"}))


if __name__ == "__main__":
    unittest.main()
