"""Generates gen/typescript from proto/, or checks it: generated anew it is the same, and it type-checks.

The plugin and the type checker are npm packages of gen/typescript/package-lock.json, so this needs Node and npm besides
the locked environment, and is no part of `make gen`.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from scripts.generate import (
    GOOGLEAPIS,
    PROTO,
    ROOT,
    THIRD_PARTY,
    differences,
    install,
    relative_protos,
    report,
    run,
    vendor_googleapis,
)

PACKAGE = ROOT / "gen" / "typescript"
INSTALLED = PACKAGE / "node_modules"
# What calls the package as others do; copied into it, so that it finds the package by its name.
CALLERS = (ROOT / "docs" / "examples", ROOT / "tests" / "clients")
BUILD = PACKAGE / "build"
# Folders of the package that hold nothing but generated files.
GENERATED = (Path("dsm"), Path("buf"), Path("google"))
# What DSM's protos import of googleapis, and what its errors carry.
GOOGLE_PROTOS = (
    "google/api/annotations.proto",
    "google/api/http.proto",
    "google/rpc/error_details.proto",
    "google/rpc/status.proto",
    "google/type/dayofweek.proto",
)
OLDEST_NODE = 20


def main(arguments: list[str]) -> int:
    """Writes gen/typescript or checks it; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="fail if gen/typescript is stale or does not type-check")
    options = parser.parse_args(arguments)
    require_node()
    vendor_googleapis(GOOGLEAPIS)
    try:
        install_packages()
        with tempfile.TemporaryDirectory(prefix="dsm-clients-") as folder:
            fresh = Path(folder)
            generate(fresh)
            if not options.check:
                install(fresh, PACKAGE, GENERATED)
                return 0
            different = differences(fresh, PACKAGE, GENERATED)
        compile_callers()
    except subprocess.CalledProcessError as error:
        print(f"{Path(error.cmd[0]).name} failed (exit code {error.returncode}).", file=sys.stderr)
        return 1
    return report([Path("typescript") / name for name in different], "make gen-clients")


def require_node() -> None:
    """Stops with one sentence unless Node and npm are there and new enough."""
    node = shutil.which("node")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout if node else ""
    major = version.strip().removeprefix("v").partition(".")[0]
    if not major.isdigit() or int(major) < OLDEST_NODE or not shutil.which("npm"):
        found = f"found Node {version.strip()}" if version else "found none"
        raise SystemExit(f"The TypeScript client needs Node {OLDEST_NODE} or newer, and npm: {found}.")


def install_packages() -> None:
    """Installs what the lock names, unless that was done since the lock last changed."""
    # npm notes there what it installed last.
    noted = INSTALLED / ".package-lock.json"
    locked = (PACKAGE / "package-lock.json").stat().st_mtime
    if not noted.is_file() or noted.stat().st_mtime < locked:
        run("npm", "--prefix", PACKAGE, "ci", "--no-progress", "--loglevel=error")


def generate(target: Path) -> None:
    """Fills an empty folder with the JavaScript modules and type declarations of every proto."""
    plugin = INSTALLED / ".bin" / "protoc-gen-es"
    protoc = [sys.executable, "-m", "grpc_tools.protoc", f"--plugin=protoc-gen-es={plugin}"]
    sources = [f"--proto_path={folder}" for folder in (PROTO, GOOGLEAPIS, THIRD_PARTY)]
    output = [f"--es_out={target}", "--es_opt=target=js+dts", "--es_opt=import_extension=js"]
    run(*protoc, *sources, *output, *relative_protos(PROTO), *relative_protos(THIRD_PARTY), *GOOGLE_PROTOS)


def compile_callers() -> None:
    """Compiles what calls the package, and type-checks it and the package under `strict`."""
    shutil.rmtree(BUILD, ignore_errors=True)
    BUILD.mkdir()
    for folder in CALLERS:
        for source in folder.glob("*.ts"):
            shutil.copy(source, BUILD)
    run(INSTALLED / ".bin" / "tsc", "--project", PACKAGE)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
