"""The installed library: `cmake --install` into a folder, programs built against it outside of the tree, and run.

The environment names the build to install (CAIRN_BUILD) and the compiler (CAIRN_CXX); see also engine_case.py.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.append(str(ROOT / "tests/e2e"))

from engine_case import BIN, Engine  # noqa: E402

BUILD = pathlib.Path(os.environ.get("CAIRN_BUILD", ROOT / "build/release"))
COMPILER = os.environ.get("CAIRN_CXX", "clang++-19")
RUN_TIMEOUT_S = 120
MIB = 1 << 20


def run(*command: str | pathlib.Path) -> str:
    result = subprocess.run(command, text=True, capture_output=True, timeout=RUN_TIMEOUT_S)
    if result.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))}: exit code {result.returncode}\n{result.stdout}{result.stderr}")
    return result.stdout


def end(process: subprocess.Popen) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        stream.close()


class LibraryTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        folder = tempfile.TemporaryDirectory(prefix="cairn-library-")
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        cls.prefix = cls.folder / "prefix"
        run("cmake", "--install", BUILD, "--prefix", cls.prefix)

    def build(self, source: pathlib.Path) -> pathlib.Path:
        """A copy of the project, so that nothing of the tree is in reach."""
        copy = self.folder / source.name
        shutil.copytree(source, copy)
        run("cmake", "-S", copy, "-B", copy / "build", f"-DCMAKE_CXX_COMPILER={COMPILER}", f"-DCMAKE_PREFIX_PATH={self.prefix}")
        run("cmake", "--build", copy / "build")
        return copy / "build" / source.name

    def file(self, name: str, size: int) -> pathlib.Path:
        path = self.folder / name
        with path.open("wb") as file:
            file.truncate(size)
        return path

    def test_only_the_public_interface_is_installed(self) -> None:
        headers = sorted(each.relative_to(self.prefix) for each in self.prefix.rglob("*.h"))
        self.assertEqual([str(each) for each in headers],
                         [f"include/cairn/{name}.h" for name in ("buffer", "error", "nexus", "runtime")])
        for header in headers:
            for included in re.findall(r"#include (.*)", (self.prefix / header).read_text()):
                self.assertRegex(included, r"^<(cairn/\w+\.h|\w+)>$", header)
        symbols = run("nm", "-D", "--defined-only", "-C", self.prefix / "lib/libcairn.so").splitlines()
        self.assertTrue(symbols)
        for symbol in symbols:
            self.assertRegex(symbol, r" T cairn::embed::")

    def test_the_example(self) -> None:
        program = self.build(ROOT / "examples/mirror")
        files = [self.folder / "a.img", self.folder / "b.img"]
        for _ in range(2):  # makes its files, then uses them again
            self.assertIn("read it back: the same", run(program, *files))
        copies = [file.read_bytes()[5 * MIB:69 * MIB] for file in files]
        self.assertEqual(copies[0], copies[1])
        self.assertEqual(copies[0][:16 << 16:1 << 16], b"abcdefghijklmnop")

    def test_a_program_outlives_a_child_and_learns_of_its_mistakes(self) -> None:
        program = self.build(HERE / "consumer")
        local = self.file("local.img", 40 * MIB)
        engine_folder = self.folder / "engine"
        engine_folder.mkdir()
        with Engine(BIN / "io-engine", BIN / "io-engine-client", engine_folder) as engine:
            nqn = engine.create_and_share("malloc:///far?size_mb=40")
            process = subprocess.Popen([program, f"aio://{local}?blk_size=512", f"nvmf://127.0.0.1:{engine.port}/{nqn}"],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            self.addCleanup(end, process)
            if process.stdout.readline() != "written\n":
                self.fail(process.communicate(timeout=RUN_TIMEOUT_S)[1])
            engine.kill()
        output, errors = process.communicate("go on\n", timeout=RUN_TIMEOUT_S)
        self.assertEqual(process.returncode, 0, errors)
        self.assertRegex(output, r"^degraded: nvmf://\S+ is \w+.*\ndone\n$")
        self.assertEqual(local.read_bytes()[5 * MIB:6 * MIB], b"b" * MIB)


if __name__ == "__main__":
    unittest.main()
