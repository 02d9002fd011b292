"""Files that are made from the code: written, or with --check held against what would be written."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

END = "<!-- end -->\n"


def run(about: str | None, arguments: Sequence[str], fresh: Callable[[], Mapping[Path, str]], command: str) -> int:
    """A script that makes files: its exit code. `about` is its docstring, `command` what writes the files."""
    parser = argparse.ArgumentParser(description=(about or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="fail if a file is not what would be written")
    check = parser.parse_args(arguments).check
    stale = {path: text for path, text in fresh().items() if not path.is_file() or path.read_text("utf-8") != text}
    if check and stale:
        sys.stderr.write(f"{', '.join(path.name for path in stale)}: not up to date; run `{command}`.\n")
        return 1
    for path, text in stale.items():
        path.write_text(text, encoding="utf-8")
    return 0


def begin(command: str) -> str:
    """The line after which a document holds what a command makes; it holds it until END."""
    return f"<!-- made by `{command}` -->\n"


def between(document: str, command: str, made: str) -> str:
    """A document with what a command makes of it now; what people wrote around that stays."""
    before, mark, rest = document.partition(begin(command))
    return before + mark + made + END + rest.partition(END)[2]
