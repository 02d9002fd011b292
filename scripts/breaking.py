"""Refuses changes of proto/ that break clients: compares it with the descriptor set of the base revision.

The base is where this branch left origin/main (or main); on main itself it is HEAD while the protos are being changed,
and the commit before once they are committed. BASE=<revision> names another one, BASE=none skips the check.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUF = Path(sys.executable).parent / "buf"
DESCRIPTOR = "gen/descriptor/dsm.binpb"


def main() -> int:
    """Runs buf breaking against the base revision; returns its exit code, 0 if there is nothing to compare with."""
    base = os.environ.get("BASE") or find_base()
    if base == "none":
        print("Breaking changes not checked: BASE=none.")
        return 0
    before = git("show", f"{base}:{DESCRIPTOR}") if base else None
    if before is None:
        print(f"Breaking changes not checked: {base or 'this new repository'} holds no {DESCRIPTOR}.")
        return 0
    with tempfile.TemporaryDirectory(prefix="dsm-breaking-") as folder:
        image = Path(folder, "base.binpb")
        image.write_bytes(before)
        code = subprocess.run([BUF, "breaking", "proto", "--against", image], cwd=ROOT, check=False).returncode
    print(f"The contract {'breaks clients of' if code else 'serves clients of'} {base}.")
    return code


def find_base() -> str | None:
    """Names the revision to compare with, or None in a repository that has none yet."""
    head = git("rev-parse", "--verify", "--quiet", "HEAD")
    if head is None:
        return None
    for trunk in ("origin/main", "main"):
        fork = git("merge-base", trunk, "HEAD")
        if fork and fork != head:
            return fork.decode().strip()
    changed = git("status", "--porcelain", "--", "proto", "gen/descriptor")
    return "HEAD" if changed else "HEAD~1"


def git(*arguments: str) -> bytes | None:
    """Gives a git command's output, or None if it fails."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, check=False, capture_output=True)
    return done.stdout if done.returncode == 0 else None


if __name__ == "__main__":
    raise SystemExit(main())
