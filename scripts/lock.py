"""Writes requirements.lock and requirements-dev.lock from pyproject.toml, with hashes and without addresses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV = Path(sys.executable).parent / "uv"
HEADER = "# Made by `make lock` from pyproject.toml; do not edit.\n"


def main(arguments: list[str]) -> int:
    """Resolves the runtime first and the development tools on top of it; arguments go to uv (for example --upgrade)."""
    compile_lock("requirements.lock", ["--extra", "build", *arguments])
    compile_lock("requirements-dev.lock", ["--extra", "dev", "--constraint", "requirements.lock", *arguments])
    return 0


def compile_lock(name: str, arguments: list[str]) -> None:
    """Writes one lock file, keeping the versions it holds unless told to upgrade; fails if an address got into it."""
    command = [str(UV), "pip", "compile", "pyproject.toml", "--quiet", "--no-header", "--no-annotate"]
    command += ["--universal", "--python-version", "3.11", "--generate-hashes"]
    command += ["--no-emit-index-url", "--no-emit-find-links"]
    subprocess.run([*command, *arguments, "--output-file", name], cwd=ROOT, check=True)
    path = ROOT / name
    text = path.read_text(encoding="utf-8")
    if "://" in text or "\n-" in text:
        raise SystemExit(f"{name} names an address: a lock must hold names, versions and hashes alone.")
    path.write_text(HEADER + text.removeprefix(HEADER), encoding="utf-8")
    print(f"{name}: {sum(line[:1].isalpha() for line in text.splitlines())} packages")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
