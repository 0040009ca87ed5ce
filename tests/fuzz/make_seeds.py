"""Turns a seed list into a folder of libFuzzer inputs, one file a seed.

A line of the list is a name and its bytes: hexadecimal pairs, "text" in double quotes, or either repeated, as in 00*112.
Spaces are free, '#' starts a comment, a line that starts with a space continues the one above.
"""

import pathlib
import re
import sys

TOKEN = re.compile(r'\s*(?:"([^"]*)"|([0-9a-fA-F]{2}))(?:\*(\d+))?')


def parse_bytes(text, where):
    out = bytearray()
    position = 0
    text = text.rstrip()
    while position < len(text):
        match = TOKEN.match(text, position)
        if not match:
            sys.exit(f"{where}: cannot read {text[position:]!r}")
        quoted, pair, times = match.groups()
        out += (quoted.encode() if quoted is not None else bytes.fromhex(pair)) * int(times or 1)
        position = match.end()
    return bytes(out)


def strip_comment(line):
    return re.sub(r'^((?:[^"#]|"[^"]*")*)#.*$', r"\1", line.rstrip("\n")).rstrip()


def main(list_path, folder):
    seeds = {}
    name = None
    for number, raw in enumerate(pathlib.Path(list_path).read_text(encoding="utf-8").splitlines(), 1):
        line = strip_comment(raw)
        where = f"{list_path}:{number}"
        if not line:
            continue
        if not line[0].isspace():
            name, _, line = line.partition(" ")
            if name in seeds:
                sys.exit(f"{where}: seed {name} is there twice")
            seeds[name] = b""
        if name is None:
            sys.exit(f"{where}: bytes before the first name")
        seeds[name] += parse_bytes(line, where)
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.iterdir():
        stale.unlink()
    for name, data in seeds.items():
        (folder / name).write_bytes(data)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: make_seeds.py <seed list> <folder>")
    main(sys.argv[1], sys.argv[2])
