"""TCP ports of loopback that nobody listens on."""

import socket


def free_ports(count: int) -> list[int]:
    """Different ones. Nothing keeps them from being taken before they are used."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    return ports
