"""Puts programs of Debian packages with the shared libraries they need into the root folder of a guest."""

import pathlib
import re
import shutil
import subprocess

PACKAGES = [
    "busybox-static", "dash", "nvme-cli", "libnvme1", "libjson-c5", "libssl3", "zlib1g", "libc6",
    "fio", "libaio1", "libnuma1",
    "e2fsprogs", "libext2fs2", "libcom-err2", "libblkid1", "libuuid1",
    "xfsprogs", "libinih1", "liburcu8",
    "util-linux",
]

PROGRAMS = [
    "dash", "nvme", "fio",
    "mkfs.ext4", "e2fsck", "resize2fs", "tune2fs",
    "mkfs.xfs", "xfs_repair",
    "blkdiscard",
]

# Libraries that only serve parts of a program which no scenario uses (cluster storage, RDMA, MCTP), and which would
# drag in 100 MB. The guest gets empty stand-ins. The prefix names the functions of libraries without symbol versions.
STAND_INS = {
    "libgfapi.so.0": None,
    "libibverbs.so.1": None,
    "libnbd.so.0": None,
    "libnvme-mi.so.1": None,
    "libpmem.so.1": None,
    "libpmemblk.so.1": None,
    "librados.so.2": "rados_",
    "librbd.so.1": "rbd_",
    "librdmacm.so.1": None,
}

LIBRARY_FOLDER = "usr/lib/x86_64-linux-gnu"


class ProgramError(Exception):
    pass


def install_programs(packages: pathlib.Path, root: pathlib.Path) -> None:
    """packages: the folder that PACKAGES were unpacked into."""
    installed = [_install_program(packages, root, name) for name in PROGRAMS]
    _install_libraries(packages, root, installed)
    _install_busybox(packages, root)
    # Not busybox's own shell, which prefers the applets to the programs of the same name.
    (root / "usr/bin/sh").unlink()
    (root / "usr/bin/sh").symlink_to("../sbin/dash")


def _install_program(packages: pathlib.Path, root: pathlib.Path, name: str) -> pathlib.Path:
    for folder in ("usr/sbin", "usr/bin", "sbin", "bin"):
        source = packages / folder / name
        if source.exists():
            target = root / "usr/sbin" / name
            shutil.copyfile(source, target)  # follows links such as mkfs.ext4's
            target.chmod(0o755)
            return target
    raise ProgramError(f"{name} is in none of the packages {' '.join(PACKAGES)}")


def _install_libraries(packages: pathlib.Path, root: pathlib.Path, programs: list[pathlib.Path]) -> None:
    available = {path.name: path for folder in ("usr/lib", "lib") for path in (packages / folder).rglob("*.so*")}
    users_of_stand_in: dict[str, list[pathlib.Path]] = {}
    waiting, seen = list(programs), set()
    while waiting:
        user = waiting.pop()
        for soname in _needed_libraries(user):
            if soname in STAND_INS:
                users_of_stand_in.setdefault(soname, []).append(user)
                continue
            if soname in seen:
                continue
            if soname not in available:
                raise ProgramError(f"{user.name} needs {soname}, which is in none of the packages and has no stand-in")
            seen.add(soname)
            target = root / LIBRARY_FOLDER / soname
            shutil.copyfile(available[soname], target)
            target.chmod(0o755)
            waiting.append(target)
    for soname, users in users_of_stand_in.items():
        _build_stand_in(soname, users, root / LIBRARY_FOLDER / soname)
    shutil.copyfile(available["ld-linux-x86-64.so.2"], root / "usr/lib64/ld-linux-x86-64.so.2")
    (root / "usr/lib64/ld-linux-x86-64.so.2").chmod(0o755)


def _needed_libraries(binary: pathlib.Path) -> list[str]:
    names = re.findall(r"NEEDED +(\S+)", _output("objdump", "-p", str(binary)))
    return [name for name in names if not name.startswith("ld-linux")]


def _build_stand_in(soname: str, users: list[pathlib.Path], target: pathlib.Path) -> None:
    """A library that has every function its users want of the real one; calling any of them aborts."""
    versions: dict[str, set[str]] = {}  # symbol version ("" for none) -> functions
    for user in users:
        wanted = re.search(rf"required from {re.escape(soname)}:\n((?:    .*\n)*)", _output("objdump", "-p", str(user)))
        for version in re.findall(r"(\S+)\n", wanted[1]) if wanted else []:
            versions.setdefault(version, set())
        prefix = STAND_INS[soname]
        for name in _undefined_symbols(user):
            function, _, version = name.partition("@")
            if version in versions or (not version and prefix and function.startswith(prefix)):
                versions.setdefault(version, set()).add(function)
    functions = sorted(set().union(*versions.values()))
    source = "".join(f"void {function}(void) {{ __builtin_trap(); }}\n" for function in functions)
    script = "".join(f"{version} {{ {' '.join(f'{name};' for name in sorted(names))} }};\n"
                     for version, names in sorted(versions.items()) if version)
    version_script = target.with_suffix(".versions")
    version_script.write_text(script)
    command = ["gcc", "-shared", "-fPIC", "-w", "-nostdlib", f"-Wl,-soname,{soname}", "-x", "c", "-", "-o", str(target)]
    if script:
        command.append(f"-Wl,--version-script,{version_script}")
    subprocess.run(command, input=source, text=True, check=True)
    version_script.unlink()


def _undefined_symbols(binary: pathlib.Path) -> list[str]:
    """name, or name@version"""
    options = ["-D", "--undefined-only", "--with-symbol-versions", "--format=just-symbols"]
    return _output("nm", *options, str(binary)).split()


def _install_busybox(packages: pathlib.Path, root: pathlib.Path) -> None:
    shutil.copy(packages / "bin/busybox", root / "usr/bin/busybox")
    for applet in _output(str(packages / "bin/busybox"), "--list").split():
        link = root / "usr/bin" / applet
        if not (root / "usr/sbin" / applet).exists() and not link.exists():
            link.symlink_to("busybox")
    # Where the kernel looks for it when it wants a module.
    (root / "usr/sbin/modprobe").symlink_to("../bin/busybox")


def _output(*command: str) -> str:
    return subprocess.run(command, text=True, capture_output=True, check=True).stdout
