"""Writes the tables of docs/configuring.md from the settings models of the process and of every service."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from scripts import made
from services.cli.names import SERVICES
from services.cli.registry import entries
from services.kit.settings import PREFIX, ProcessSettings, ServiceSettings, Settings, StatefulSettings

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "configuring.md"
# What is or may hold a secret: addresses may have a password in them.
_SECRET = re.compile("(^|_)(secret|password|token)$|^(database|nats)_url$")
_NAMES = {"boolean": "true, false", "integer": "integer", "number": "number", "string": "text"}
_HEAD = "| variable | what | values | default |\n|---|---|---|---|\n"


def main(arguments: list[str]) -> int:
    """Writes the document, or tells with --check whether it is up to date; returns the exit code."""
    return made.run(__doc__, arguments, lambda: {DOCUMENT: document(DOCUMENT.read_text("utf-8"))}, "make docs")


def document(text: str) -> str:
    """The document with tables that are up to date."""
    return made.between(text, "make docs", "\n" + "\n".join(_sections()) + "\n")


def _sections() -> Iterator[str]:
    yield _section("The process", "One server, whatever services it runs.", ProcessSettings, Settings)
    yield _section("Every service", "Each also for one service, as told above.", ServiceSettings, Settings)
    yield _section("Every service with a database", "Likewise.", StatefulSettings, ServiceSettings)
    for entry in entries(SERVICES):
        base = StatefulSettings if issubclass(entry.settings, StatefulSettings) else ServiceSettings
        if entry.settings.model_fields.keys() > base.model_fields.keys():
            yield _section(f"The {entry.name} service", "Besides what every service has.", entry.settings, base)


def _section(title: str, intro: str, kind: type[Settings], without: type[Settings]) -> str:
    properties = kind.model_json_schema()["properties"]
    definitions = kind.model_json_schema().get("$defs", {})
    rows = [
        _row(name, field, _resolved(properties[name], definitions))
        for name, field in kind.model_fields.items()
        if name not in without.model_fields
    ]
    return f"### {title}\n\n{intro}\n\n{_HEAD}{''.join(rows)}"


def _row(name: str, field: FieldInfo, schema: dict[str, Any]) -> str:
    what = field.description or ""
    if _SECRET.search(name):
        what += " **Secret.**"
    default = "must be set" if field.is_required() else _shown(field.default)
    cells = (f"`{PREFIX}{name.upper()}`", what, _values(schema), default)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def _resolved(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """A property with what it refers to."""
    if "$ref" in schema:
        return dict(definitions[schema["$ref"].rpartition("/")[2]])
    return schema


def _values(schema: dict[str, Any]) -> str:
    """What may be given: the choices, or the type with its range."""
    choices = schema.get("enum") or re.findall(r"\w+", _choice(schema.get("pattern", "")))
    if choices:
        return ", ".join(f"`{choice}`" for choice in choices)
    low = _bound(schema, "minimum", "from", "exclusiveMinimum", "above")
    high = _bound(schema, "maximum", "to", "exclusiveMaximum", "below")
    return " ".join(part for part in (_NAMES.get(schema.get("type", ""), "text"), low, high) if part)


def _choice(pattern: str) -> str:
    """The inside of a pattern that only lists words; empty for any other."""
    found = re.fullmatch(r"\^\(([\w|]+)\)\$", pattern)
    return found[1] if found else ""


def _bound(schema: dict[str, Any], closed: str, word: str, opened: str, open_word: str) -> str:
    if closed in schema:
        return f"{word} {schema[closed]:g}" if schema[closed] < 1_000_000 else f"{word} {schema[closed]}"
    return f"{open_word} {schema[opened]:g}" if opened in schema else ""


def _shown(value: object) -> str:
    """A default as it would be written in the environment."""
    text = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return f"`{text}`" if text else "empty"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
