"""The guest's NVMe/TCP host, driven through nvme-cli and sysfs as its administrator would."""

import json

from guest import HOST_ADDRESS, Guest, GuestError

STATE_TIMEOUT_S = 30


class NvmeHost:
    def __init__(self, guest: Guest):
        self.guest = guest
        guest.check("modprobe nvme-tcp")

    def discover(self, port: int, address: str = HOST_ADDRESS) -> list[dict]:
        return self.json(f"discover -t tcp -a {address} -s {port}")["records"]

    def connect(self, nqn: str, port: int, options: str = "", *, address: str = HOST_ADDRESS,
                queues: int = 4) -> "Controller":
        """Gives up on a lost target only after ten minutes, and tries once a second until then."""
        self.guest.check(f"nvme connect -t tcp -a {address} -s {port} -n '{nqn}' --nr-io-queues={queues} "
                         f"--reconnect-delay=1 --ctrl-loss-tmo=600 {options}")
        controller = self.guest.check(f"cd /sys/class/nvme && grep -lxF '{nqn}' nvme*/subsysnqn").split("/")[0]
        found = f"ls -d /sys/class/nvme-subsystem/*/nvme*n* /sys/class/nvme/{controller}/nvme*n* 2>/dev/null"
        # The node of a namespace is that of its subsystem when it may have several paths, else that of the controller;
        # nvme0c1n1 is a path, nvme0n1 the namespace.
        mine = (f"for n in $({found}); do grep -qxF \"{nqn}\" $n/../subsysnqn && basename $n; done "
                "| grep -v c | head -n 1")
        self.guest.wait_until(f"[ -b /dev/$({mine}) ]", STATE_TIMEOUT_S)
        namespace = self.guest.check(mine).strip()
        return Controller(self.guest, controller, namespace)

    def disconnect_all(self) -> None:
        self.guest.check("nvme disconnect-all")
        self.guest.wait_until("[ -z \"$(ls /sys/class/nvme)\" ]", STATE_TIMEOUT_S)

    def json(self, command: str) -> dict:
        """What an nvme command prints as JSON."""
        return json.loads(self.guest.check(f"nvme {command} -o json"))


class Controller:
    """A connected controller and its one namespace."""

    def __init__(self, guest: Guest, name: str, namespace: str):
        self._guest = guest
        self.name = name                        # nvme0
        self.namespace = namespace              # nvme0n1
        self.character_device = f"/dev/{name}"  # for admin commands
        self.device = f"/dev/{namespace}"       # the block device

    def attribute(self, name: str) -> str:
        return self._guest.check(f"cat /sys/class/nvme/{self.name}/{name}").strip()

    def queue_attribute(self, name: str) -> str:
        return self._guest.check(f"cat /sys/block/{self.namespace}/queue/{name}").strip()

    @property
    def io_queues(self) -> int:
        return int(self.attribute("queue_count")) - 1  # one is the admin queue

    @property
    def size_bytes(self) -> int:
        return int(self._guest.check(f"blockdev --getsize64 {self.device}"))

    def wait_for_state(self, state: str) -> None:
        """live, connecting, resetting, … as the kernel names them. Fails at once when the kernel gives the target up."""
        path = f"/sys/class/nvme/{self.name}/state"
        self._guest.wait_until(f"[ ! -e {path} ] || grep -qx {state} {path}", STATE_TIMEOUT_S)
        if self._guest.run(f"[ -e {path} ]").status != 0:
            raise GuestError(f"Linux removed {self.name} instead of waiting until it is {state}")
