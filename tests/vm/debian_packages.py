"""Fetches Debian packages into the cache, with an apt of its own: the system's lists, state and sources stay untouched.

The mirrors are those the system itself uses, whatever they are; only the suite is ours.
"""

import os
import pathlib
import re
import subprocess

SUITE = "bookworm"
TIMEOUT_S = 900  # for one call of apt, downloads included
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


class PackageError(Exception):
    pass


class DebianPackages:
    """Packages of Debian 12, its updates and its backports. Needs no privileges."""

    def __init__(self, cache: pathlib.Path):
        self._state = cache / "apt"
        self._packages = cache / "packages"
        self._updated = False

    def newest(self, name_pattern: str) -> str:
        """The package with the highest version among those whose whole name matches the pattern."""
        self._update()
        found = self._run("apt-cache", "search", "--names-only", f"^{name_pattern}$")
        names = [line.split(" ", 1)[0] for line in found.splitlines()]
        if not names:
            raise PackageError(f"no package in {SUITE} or its backports is called {name_pattern}")
        records = self._run("apt-cache", "show", "--no-all-versions", *names)
        versions = dict(zip(re.findall(r"^Package: (.*)$", records, re.M),
                            re.findall(r"^Version: (.*)$", records, re.M), strict=True))
        return max(names, key=lambda name: [int(number) for number in re.findall(r"\d+", versions[name])])

    def fetch(self, names: list[str]) -> list[pathlib.Path]:
        """Downloads what is not in the cache yet; returns one .deb per name."""
        self._update()
        self._packages.mkdir(parents=True, exist_ok=True)
        # One line per package: 'uri' file-name size digest
        uris = self._run("apt-get", "download", "--print-uris", *names)
        wanted = [line.split()[1] for line in uris.splitlines() if line.startswith("'")]
        if len(wanted) != len(names):
            raise PackageError(f"apt found {len(wanted)} of {len(names)} packages: {wanted}")
        self._run("apt-get", "download", *names, cwd=self._packages)
        return [self._packages / name for name in wanted]

    def _update(self) -> None:
        if self._updated:
            return
        for folder in ("state/lists/partial", "cache/archives/partial"):
            (self._state / folder).mkdir(parents=True, exist_ok=True)
        (self._state / "status").touch()
        (self._state / "sources.list").write_text("".join(
            f"deb [signed-by={KEYRING}] {uri} {suite} main\n" for uri, suite in _sources()))
        self._run("apt-get", "update")
        self._updated = True

    def _run(self, tool: str, *arguments: str, cwd: pathlib.Path | None = None) -> str:
        options = {
            "Dir::State": self._state / "state",
            "Dir::State::status": self._state / "status",
            "Dir::Cache": self._state / "cache",
            "Dir::Etc::sourcelist": self._state / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Acquire::Retries": 3,
            "Acquire::Languages": "none",
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
            "APT::Sandbox::User": "root",
            "APT::Architecture": "amd64",
            "APT::Update::Error-Mode": "any",
        }
        command = [tool] + [f"-o{name}={value}" for name, value in options.items()] + ["-q", *arguments]
        return _output(command, cwd)


def _sources() -> list[tuple[str, str]]:
    """(mirror, suite) pairs, from the system's own configuration of apt."""
    release_file = pathlib.Path("/etc/os-release").read_text()
    codename = dict(re.findall(r'^(\w+)="?([^"\n]*)', release_file, re.M)).get("VERSION_CODENAME", "")
    mirrors: dict[str, str] = {}
    # --no-release-info: from the sources alone, whether their lists were ever fetched or not.
    targets = _output(["apt-get", "indextargets", "--no-release-info",
                       "--format", "$(RELEASE) $(COMPONENT) $(REPO_URI)", "Created-By: Packages"])
    for line in targets.splitlines():
        release, component, uri = line.split(" ", 2)
        if component == "main":
            mirrors.setdefault(release, uri)
    if codename not in mirrors:
        raise PackageError(f"apt's sources name no Debian mirror (no component main of release {codename or '?'}): "
                           "the kernel rig needs a Debian system, or its cache already filled")
    sources = [(mirrors[codename], suite) for suite in (SUITE, f"{SUITE}-updates", f"{SUITE}-backports")]
    if security := mirrors.get(f"{codename}-security"):
        sources.append((security, f"{SUITE}-security"))
    return sources


def _output(command: list[str], cwd: pathlib.Path | None = None) -> str:
    result = subprocess.run(command, cwd=cwd, text=True, capture_output=True, env={**os.environ, "LC_ALL": "C"},
                            timeout=TIMEOUT_S)
    if result.returncode != 0:
        raise PackageError(f"{' '.join(command)}: exit code {result.returncode}\n{result.stderr.strip()}")
    return result.stdout
