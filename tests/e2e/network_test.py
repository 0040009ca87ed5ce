"""The network of namespaces that other tests stand on: each way to break a link breaks it, and mending mends it."""

import subprocess
import sys
import unittest

from engine_case import EngineCase  # noqa: F401  (finds the harness)

import network

PORT = 9  # nobody listens: a refusal proves that both directions work
SILENCE_S = 0.4  # how long no answer is taken for none
PROBE = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=float(sys.argv[3]))
except ConnectionRefusedError:
    print("reached")
except OSError:
    print("nothing")
"""

WHY_NOT = network.why_not()


@unittest.skipIf(WHY_NOT, WHY_NOT)
class Links(unittest.TestCase):
    def setUp(self) -> None:
        self.network = network.Network()
        self.network.__enter__()
        self.addCleanup(self.network.__exit__)
        self.a, self.b, self.c = (self.network.add_node(name, 101 + number) for number, name in enumerate("abc"))

    def reaches(self, source: network.NetworkNode, destination: network.NetworkNode) -> bool:
        """Within a few tries: the first packets of a link that has just come up may be lost."""
        tries = 10 if self.expected else 1
        for _ in range(tries):
            answer = subprocess.run(source.inside(sys.executable, "-c", PROBE, destination.address, PORT, SILENCE_S), text=True,
                                    capture_output=True, check=True).stdout.strip()
            if answer == "reached":
                return True
        return False

    def expect(self, expected: bool, *pairs: tuple[network.NetworkNode, network.NetworkNode]) -> None:
        self.expected = expected
        for source, destination in pairs:
            self.assertEqual(self.reaches(source, destination), expected, (source.name, destination.name))

    def test_faults(self) -> None:
        for fault in (self.b.cut, self.b.deafen, self.b.silence, self.b.unplug):
            with self.subTest(fault.__name__):
                self.expect(True, (self.a, self.b))
                fault()
                self.expect(False, (self.a, self.b), (self.b, self.a))
                self.expect(True, (self.a, self.c))
                self.b.mend()
                self.expect(True, (self.a, self.b), (self.b, self.a))

    def test_one_way(self) -> None:
        """deafen() stops only what comes in, silence() only what goes out."""
        receive = "import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('', 7)); s.settimeout({}); print(s.recv(9))"
        send = "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('{}', 7))"
        self.expect(True, (self.a, self.b), (self.b, self.a))  # everybody knows everybody's hardware address now
        for fault, (sender, receiver) in ((self.b.deafen, (self.b, self.a)), (self.b.silence, (self.a, self.b))):
            with self.subTest(fault.__name__):
                fault()
                with subprocess.Popen(receiver.inside(sys.executable, "-c", "print('ready', flush=True)\n" + receive.format(20)),
                                      text=True, stdout=subprocess.PIPE) as listener:
                    listener.stdout.readline()
                    # The listener is bound very soon after it said so: say it until it is heard.
                    while listener.poll() is None:
                        subprocess.run(sender.inside(sys.executable, "-c", send.format(receiver.address)), check=True)
                    self.assertEqual(listener.stdout.read(), "b'x'\n")
                self.b.mend()

    def test_pairs(self) -> None:
        self.network.separate(self.a, self.b.port)
        self.expect(False, (self.a, self.b), (self.b, self.a))
        self.expect(True, (self.a, self.c), (self.c, self.b))
        self.network.rejoin()
        self.expect(True, (self.a, self.b))

    def test_leaves_nothing(self) -> None:
        prefix = self.network.prefix
        self.network.__exit__()
        self.assertNotIn(prefix, subprocess.run(["ip", "netns"], text=True, capture_output=True, check=True).stdout)


if __name__ == "__main__":
    unittest.main()
