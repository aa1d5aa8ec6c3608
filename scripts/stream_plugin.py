"""Writes the streamed build of the Kong plugin, or says whether it is out of date.

Law of this file: the command line alone; what is built is decided in ``streaming``.
"""

import argparse
import sys
from pathlib import Path

from streaming.bundle import BuildError, build

ROOT = Path(__file__).resolve().parents[1]
PLUGIN = ROOT / "kong-plugin" / "kong" / "plugins" / "credential-validator"
STREAMED = ROOT / "deploy" / "konnect" / "streamed"


def main(arguments: list[str] | None = None) -> int:
    """The exit status: 0 done or up to date, 1 out of date or not buildable, 2 wrong usage."""
    parser = argparse.ArgumentParser(prog="scripts/stream-plugin", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file is out of date")
    parser.add_argument("directory", nargs="?", type=Path, default=STREAMED, help="where the files are")
    options = parser.parse_args(arguments)
    try:
        files = build(PLUGIN)
    except BuildError as error:
        print(f"stream-plugin: the plugin cannot be streamed:\n{error}", file=sys.stderr)
        return 1
    stale = [name for name, text in files.items() if read(options.directory / name) != text]
    if options.check:
        for name in stale:
            print(
                f"stream-plugin: {options.directory / name} is out of date: run scripts/stream-plugin",
                file=sys.stderr,
            )
        return 1 if stale else 0
    options.directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (options.directory / name).write_bytes(text.encode())
        done = "written" if name in stale else "unchanged"
        print(f"{options.directory / name}: {len(text.encode())} bytes, {done}")
    return 0


def read(path: Path) -> str | None:
    """The file's text, or None where there is none."""
    return path.read_bytes().decode(errors="replace") if path.is_file() else None


if __name__ == "__main__":
    sys.exit(main())
