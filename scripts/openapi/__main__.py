"""Writes the OpenAPI document of a descriptor set: python -m scripts.openapi <descriptor set> <document>."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from scripts.openapi.contract import load
from scripts.openapi.document import build


def main(descriptor_set: str, target: str) -> int:
    """Reads the one file and writes the other; returns the exit code."""
    document = build(load(Path(descriptor_set).read_bytes()))
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    Path(target).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
