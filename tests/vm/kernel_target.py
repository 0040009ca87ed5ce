"""The kernel's own NVMe/TCP target in a guest: one subsystem with one namespace, a disk in memory, on one port."""

from guest import Guest


class KernelTarget:
    """set_up() -> listen() and stop_listening(), any number of times -> tear_down() while it does not listen."""

    def __init__(self, guest: Guest, nqn: str, *, size_mib: int, address: str, port: int):
        self._guest, self._nqn = guest, nqn
        self._size_mib, self._address, self._port = size_mib, address, port
        self._link = f"/sys/kernel/config/nvmet/ports/1/subsystems/{nqn}"

    def set_up(self) -> None:
        self._guest.check(f"""
set -e
modprobe nvmet-tcp
modprobe null_blk nr_devices=0
mount -t configfs configfs /sys/kernel/config
mkdir /sys/kernel/config/nullb/nullb0 && cd /sys/kernel/config/nullb/nullb0
echo {self._size_mib} >size && echo 1 >memory_backed && echo 1 >discard && echo 1 >power
cd /sys/kernel/config/nvmet
mkdir subsystems/{self._nqn} && echo 1 >subsystems/{self._nqn}/attr_allow_any_host
mkdir subsystems/{self._nqn}/namespaces/1
echo -n /dev/nullb0 >subsystems/{self._nqn}/namespaces/1/device_path
echo 1 >subsystems/{self._nqn}/namespaces/1/enable
mkdir ports/1
echo tcp >ports/1/addr_trtype; echo ipv4 >ports/1/addr_adrfam
echo {self._address} >ports/1/addr_traddr; echo {self._port} >ports/1/addr_trsvcid
""")

    def listen(self) -> None:
        self._guest.check(f"ln -s /sys/kernel/config/nvmet/subsystems/{self._nqn} {self._link}")

    def stop_listening(self) -> None:
        self._guest.check(f"rm {self._link}")

    def tear_down(self) -> None:
        self._guest.check(f"""
set -e
cd /sys/kernel/config/nvmet
rmdir ports/1
echo 0 >subsystems/{self._nqn}/namespaces/1/enable
rmdir subsystems/{self._nqn}/namespaces/1 subsystems/{self._nqn}
rmdir /sys/kernel/config/nullb/nullb0
cd / && umount /sys/kernel/config
""")
