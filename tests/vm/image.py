#!/usr/bin/env python3
"""Builds what a guest boots: the kernel as an ELF file and an initramfs. Both are cached outside the tree.

Run by hand, it builds the images of all kernels and prints where they are; --refresh fetches newer packages first.
"""

import argparse
import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import cpio_archive
import debian_packages
import guest_modules
import guest_programs
import vmlinux

KERNELS = {  # series -> pattern of the package's name; cloud and rt flavours and other architectures do not match
    "6.1": r"linux-image-6\.1\.[0-9.]+-[0-9]+-amd64",
    "6.12": r"linux-image-6\.12\.[0-9]+\+[a-z0-9.]+-amd64",
}

HERE = pathlib.Path(__file__).resolve().parent
GUEST_SOURCES = HERE / "guest"
# Whatever decides how an image looks: a change to any of them makes a new image.
RECIPE = [HERE / name for name in ("image.py", "cpio_archive.py", "guest_modules.py", "guest_programs.py", "vmlinux.py",
                                   "guest/init", "guest/agent.c", "guest/sequence_writer.c")]
UNUSED_IMAGES_ARE_KEPT_S = 14 * 24 * 3600


@dataclasses.dataclass(frozen=True)
class Image:
    kernel: str  # series, a key of KERNELS
    folder: pathlib.Path

    @property
    def vmlinux(self) -> pathlib.Path:
        return self.folder / "vmlinux"

    @property
    def initramfs(self) -> pathlib.Path:
        return self.folder / "initramfs.cpio"

    @property
    def version(self) -> str:
        return (self.folder / "version").read_text().strip()


def cache_folder() -> pathlib.Path:
    base = os.environ.get("CAIRN_CACHE") or pathlib.Path.home() / ".cache/cairn"
    return pathlib.Path(base) / "vm"


def ensure_image(kernel: str, refresh: bool = False) -> Image:
    """The image of a kernel series; built first when there is none for the present recipe."""
    cache = cache_folder()
    image = Image(kernel, cache / "images" / f"{kernel}-{_recipe_key()}")
    with _exclusive(cache / "lock"):
        if refresh or not image.folder.exists():
            _build(image, cache)
        os.utime(image.folder)
        _forget_unused_images(cache / "images")
    return image


def _recipe_key() -> str:
    digest = hashlib.sha256()
    for path in RECIPE:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


@contextlib.contextmanager
def _exclusive(lock: pathlib.Path):
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(image: Image, cache: pathlib.Path) -> None:
    print(f"building the guest image of kernel {image.kernel} (once; kept in {cache})", flush=True)
    archive = _archive(cache)
    kernel_package = archive.newest(KERNELS[image.kernel])
    image.folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="building-") as temporary:
        work = pathlib.Path(temporary)
        _unpack(archive.fetch([kernel_package]), work / "kernel")
        _unpack(archive.fetch(guest_programs.PACKAGES), work / "programs")
        result = work / "image"
        result.mkdir()
        (bzimage,) = (work / "kernel/boot").glob("vmlinuz-*")
        (result / "vmlinux").write_bytes(vmlinux.extract_vmlinux(bzimage.read_bytes()))
        (result / "version").write_text(bzimage.name.removeprefix("vmlinuz-") + "\n")
        _fill_root(work / "root", work / "programs", work / "kernel")
        with (result / "initramfs.cpio").open("wb") as file:
            cpio_archive.write_cpio(work / "root", file)
        if image.folder.exists():
            shutil.rmtree(image.folder)
        result.rename(image.folder)


@functools.cache  # its lists are fetched once a run
def _archive(cache: pathlib.Path) -> debian_packages.DebianPackages:
    return debian_packages.DebianPackages(cache)


def _unpack(packages: list[pathlib.Path], folder: pathlib.Path) -> None:
    for package in packages:
        subprocess.run(["dpkg-deb", "--extract", package, folder], check=True)


def _fill_root(root: pathlib.Path, programs: pathlib.Path, kernel: pathlib.Path) -> None:
    for folder in ("dev", "etc", "mnt", "proc", "root", "run", "sys", "tmp", "usr/bin", "usr/sbin", "usr/lib64",
                   guest_programs.LIBRARY_FOLDER):
        (root / folder).mkdir(parents=True)
    for link in ("bin", "sbin", "lib", "lib64"):
        (root / link).symlink_to(f"usr/{link}")
    guest_programs.install_programs(programs, root)
    guest_modules.install_modules(kernel, root)
    shutil.copy(GUEST_SOURCES / "init", root / "init")
    _compile("agent.c", root / "usr/sbin/agent")
    _compile("sequence_writer.c", root / "usr/sbin/sequence-writer")


def _compile(source: str, target: pathlib.Path) -> None:
    subprocess.run(["gcc", "-O2", "-static", "-s", "-Wall", "-Wextra", "-Werror", GUEST_SOURCES / source, "-o", target],
                   check=True)


def _forget_unused_images(images: pathlib.Path) -> None:
    for folder in images.iterdir():
        if folder.stat().st_mtime < time.time() - UNUSED_IMAGES_ARE_KEPT_S:
            shutil.rmtree(folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kernel", choices=[*KERNELS, "all"], default="all")
    parser.add_argument("--refresh", action="store_true", help="fetch the newest packages and build anew")
    options = parser.parse_args()
    for kernel in KERNELS if options.kernel == "all" else [options.kernel]:
        image = ensure_image(kernel, options.refresh)
        size_mib = image.initramfs.stat().st_size / 2**20
        print(f"{kernel}: Linux {image.version}, initramfs {size_mib:.0f} MiB, {image.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
