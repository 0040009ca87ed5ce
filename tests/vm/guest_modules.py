"""Puts kernel modules, with all they depend on, into the root folder of a guest, so that its modprobe finds them."""

import lzma
import pathlib
import re
import subprocess

# What a scenario may use. A name that a kernel has built in, or not at all, is left out.
MODULES = [
    "virtio_pci", "virtio_console", "virtio_net", "virtio_blk",
    "nvme-core", "nvme-fabrics", "nvme-tcp",
    "nvmet", "nvmet-tcp",
    "null_blk", "brd", "loop", "dm-flakey", "dm-log-writes",
    "ext4", "xfs",
    "crc32c_generic", "crc32c-intel", "crct10dif_generic",
    "sch_netem", "tls",
    "configfs",
]

# A guest without these is useless; the build fails rather than every scenario.
REQUIRED = {"nvme-tcp", "nvmet-tcp", "virtio_net", "null_blk", "ext4", "xfs"}


class ModuleError(Exception):
    pass


def install_modules(kernel: pathlib.Path, root: pathlib.Path) -> None:
    """kernel: the folder that a kernel package was unpacked into."""
    (source,) = (kernel / "lib/modules").iterdir()
    target = root / "usr/lib/modules" / source.name
    available = {_module_name(path): path for path in source.rglob("*.ko*")}
    if missing := [name for name in REQUIRED if _normal(name) not in available]:
        raise ModuleError(f"kernel {source.name} has no module {', '.join(missing)}")

    waiting, seen = [_normal(name) for name in MODULES], set()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in available:
            continue
        seen.add(name)
        path = available[name]
        content = lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
        copy = target / path.relative_to(source).with_name(path.name.removesuffix(".xz"))
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(content)
        waiting += _dependencies(content)
    for index in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
        (target / index).write_bytes((source / index).read_bytes())
    subprocess.run(["/sbin/depmod", "--basedir", str(root / "usr"), source.name], check=True)


def _module_name(path: pathlib.Path) -> str:
    return _normal(path.name.split(".ko", 1)[0])


def _normal(name: str) -> str:
    return name.replace("-", "_")


def _dependencies(module: bytes) -> list[str]:
    """From the module's own information section: hard dependencies, and those it asks to have loaded before."""
    names = []
    for value in re.findall(rb"\0depends=([^\0]+)\0", module):
        names += value.decode().split(",")
    for value in re.findall(rb"\0softdep=pre: ([^\0]+)\0", module):
        names += [name for name in value.decode().split() if not name.endswith(":")]
    return [_normal(name) for name in names]
