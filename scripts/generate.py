"""Generates gen/ from proto/: the Python client with its types, the descriptor set and the OpenAPI document.

Everything comes from the locked environment and the repository, so it needs no network and gives the same bytes
everywhere: buf and protoc are packages of requirements-dev.lock, googleapis' protos are in one of them,
and protovalidate's proto is in third_party/.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib.metadata import files
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = Path(sys.executable).parent
PROTO = ROOT / "proto"
GEN = ROOT / "gen"
GOOGLEAPIS = ROOT / ".vendor" / "googleapis"
THIRD_PARTY = ROOT / "third_party"
DESCRIPTOR = Path("descriptor", "dsm.binpb")
OPENAPI = Path("openapi", "dsm.json")
# Folders of gen/ that hold nothing but generated files.
GENERATED = (Path("python", "dsm"), Path("python", "buf"), Path("descriptor"), Path("openapi"))
# What the service's contract may use of googleapis; the rest would only slow buf down.
GOOGLEAPIS_FOLDERS = ("google/api", "google/rpc", "google/type")
DOCSTRINGS = {
    "dsm": "The generated client of DSM, the Digital Scrum Master: messages and gRPC stubs.",
    "buf": "The generated code of protovalidate's options, which DSM's messages carry.",
}
SERVICE = re.compile(r"^service\s+\w+\s*\{", re.MULTILINE)
SHOWN_DIFFERENCES = 10


def main(arguments: list[str]) -> int:
    """Writes gen/, or only checks it or fetches other people's protos; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="fail if gen/ differs from what would be generated")
    parser.add_argument("--vendor", action="store_true", help="only copy googleapis' protos into .vendor/")
    options = parser.parse_args(arguments)
    vendor_googleapis(GOOGLEAPIS)
    if options.vendor:
        return 0
    if not any(PROTO.rglob("*.proto")):
        print("There is no .proto file in proto/ yet: nothing to generate.", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="dsm-gen-") as folder:
        fresh = Path(folder)
        try:
            generate(fresh)
        except subprocess.CalledProcessError as error:
            print(f"{Path(error.cmd[0]).name} refused the protos (exit code {error.returncode}).", file=sys.stderr)
            return 1
        if options.check:
            return report(differences(fresh, GEN, GENERATED), "make gen")
        install(fresh, GEN, GENERATED)
    return 0


def vendor_googleapis(target: Path) -> None:
    """Copies googleapis' protos out of the installed googleapis-common-protos package, replacing what was there."""
    found = [file for file in files("googleapis-common-protos") or [] if file.suffix == ".proto"]
    wanted = [file for file in found if file.as_posix().startswith(GOOGLEAPIS_FOLDERS)]
    if not wanted:
        raise SystemExit("The installed googleapis-common-protos holds no .proto files: run make setup.")
    for file in wanted:
        content = Path(str(file.locate())).read_bytes()
        path = target / file
        if path.is_file() and path.read_bytes() == content:
            continue
        # Renamed into place: another make may be reading the folder.
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".{path.name}.{os.getpid()}")
        scratch.write_bytes(content)
        scratch.replace(path)
    for stale in set(target.rglob("*.proto")) - {target / file for file in wanted}:
        stale.unlink()


def generate(target: Path) -> None:
    """Fills an empty folder with everything that is generated: what `GENERATED` names."""
    descriptor = target / DESCRIPTOR
    descriptor.parent.mkdir(parents=True)
    run(TOOLS / "buf", "build", "proto", "--output", descriptor)
    python = target / "python"
    python.mkdir()
    ours = relative_protos(PROTO)
    protoc = [sys.executable, "-m", "grpc_tools.protoc", f"--descriptor_set_in={descriptor}"]
    messages = [plugin("mypy"), f"--python_out={python}", f"--mypy_out=quiet:{python}"]
    run(*protoc, *messages, *ours, *relative_protos(THIRD_PARTY))
    # Files without a service would get empty stubs.
    services = [name for name in ours if SERVICE.search((PROTO / name).read_text(encoding="utf-8"))]
    if services:
        stubs = [plugin("mypy_grpc"), f"--grpc_python_out={python}", f"--mypy_grpc_out=quiet:{python}"]
        run(*protoc, *stubs, *services)
    make_packages(python)
    document = target / OPENAPI
    document.parent.mkdir()
    run(sys.executable, "-m", "scripts.openapi", descriptor, document)


def relative_protos(folder: Path) -> list[str]:
    """Lists a folder's protos by the names they import each other by, in a fixed order."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.proto"))


def plugin(name: str) -> str:
    """Tells protoc where this environment's plugin is, so that it is found without a PATH."""
    return f"--plugin=protoc-gen-{name}={TOOLS / f'protoc-gen-{name}'}"


def run(*command: str | Path) -> None:
    """Runs a tool in the repository's root; its own messages go to the terminal."""
    subprocess.run([str(word) for word in command], cwd=ROOT, check=True)


def make_packages(python: Path) -> None:
    """Makes every generated folder an importable, typed package."""
    for name, docstring in DOCSTRINGS.items():
        package = python / name
        for folder in [package, *(path for path in package.rglob("*") if path.is_dir())]:
            text = f'"""{docstring}"""\n' if folder == package else ""
            (folder / "__init__.py").write_text(text, encoding="utf-8")
        (package / "py.typed").touch()


def install(fresh: Path, target: Path, folders: Iterable[Path]) -> None:
    """Makes the folders of the target equal to the fresh ones, writing only what differs."""
    for name in differences(fresh, target, folders):
        path = target / name
        if not (fresh / name).exists():
            path.unlink()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".{path.name}.{os.getpid()}")
        shutil.copyfile(fresh / name, scratch)
        scratch.replace(path)


def differences(fresh: Path, target: Path, folders: Iterable[Path]) -> list[Path]:
    """Lists the files of these folders that are missing, stale or changed in the target."""
    made, kept = generated_files(fresh, folders), generated_files(target, folders)
    changed = {name for name in made & kept if not filecmp.cmp(fresh / name, target / name, shallow=False)}
    return sorted((made ^ kept) | changed)


def generated_files(folder: Path, folders: Iterable[Path]) -> set[Path]:
    """Lists the files of these folders below a folder, relative to it; Python's caches do not count."""
    found = (path for part in folders for path in (folder / part).rglob("*") if path.is_file())
    return {path.relative_to(folder) for path in found if path.suffix != ".pyc"}


def report(different: list[Path], remedy: str) -> int:
    """Says in one sentence whether gen/ is up to date, else which command makes it so; returns the exit code."""
    if not different:
        print("gen/ is what the protos say.")
        return 0
    names = ", ".join(f"gen/{name.as_posix()}" for name in different[:SHOWN_DIFFERENCES])
    more = f" and {len(different) - SHOWN_DIFFERENCES} more" if len(different) > SHOWN_DIFFERENCES else ""
    print(f"gen/ is not what the protos say ({names}{more}): run {remedy} and commit the result.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
