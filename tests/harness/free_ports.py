"""TCP ports of loopback that nobody listens on, and that nobody is given while this process lives."""

import pathlib
import random
import socket

FIRST_PORT = 10000
# The kernel gives those from here on to whoever connects, also while a server that has one is being started anew.
END_PORT = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])

_reservations: list[socket.socket] = []


def free_ports(count: int) -> list[int]:
    """Different ones. Other tests do not get them, also when nobody listens for a while."""
    ports = []
    while len(ports) < count:
        port = random.randrange(FIRST_PORT, END_PORT)
        if _reserve(port):
            ports.append(port)
    return ports


def _reserve(port: int) -> bool:
    reservation = socket.socket(socket.AF_UNIX)
    try:
        reservation.bind(f"\0cairn-test-port-{port}")
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        reservation.close()
        return False
    _reservations.append(reservation)
    return True
