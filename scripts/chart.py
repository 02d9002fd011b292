"""Writes helm/dsm/values.schema.json and the table in helm/dsm/README.md from the comments of helm/dsm/values.yaml.

In values.yaml, comment lines from `# --` on describe the value below them, with a map as a value of its own. A line
`# @schema {…}` adds to the JSON schema that the default implies; `# @settings common` and `# @service NAME` mark maps
whose contents follow from the settings models of the services, so that the chart knows every setting and no other.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from scripts import made
from services.cli.names import SERVICES
from services.cli.registry import entries
from services.kit.settings import ProcessSettings, Settings, StatefulSettings

CHART = Path(__file__).resolve().parent.parent / "helm" / "dsm"
VALUES = CHART / "values.yaml"
SCHEMA = CHART / "values.schema.json"
README = CHART / "README.md"

Path_ = tuple[str, ...]

# What the chart sets from other values, or what has no use in a cluster.
_NOT_FOR_PEOPLE = re.compile(
    "^(host|port|metrics_port|grace_seconds|max_connection_age_seconds|failpoints|database_url|.*_address|"
    "tls_.*|client_.*_file|jwt_.*|service_token_file|rate_limit_.*|otlp_endpoint|trace_sample_ratio|nats_.*|"
    "schedule_runner|kubernetes_api_url|kubernetes_namespace|cron_job_.*)$"
)
_KEY = re.compile(r"^( *)([A-Za-z]\w*):")
_NAMES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}


@dataclass
class Note:
    """What the comments above a value say."""

    text: list[str] = field(default_factory=list)
    schema: dict[str, Any] = field(default_factory=dict)
    mark: str = ""

    @property
    def description(self) -> str:
        """The description as one line; empty if there is none."""
        return " ".join(self.text)


def main(arguments: list[str]) -> int:
    """Writes both files, or tells with --check whether they are up to date; returns the exit code."""
    return made.run(__doc__, arguments, fresh, "make chart")


def fresh() -> dict[Path, str]:
    """The two files as they should be."""
    source = VALUES.read_text(encoding="utf-8")
    values, notes = yaml.safe_load(source), dict(read_notes(source))
    table = "\n".join(table_of(values, notes)) + "\n"
    return {
        SCHEMA: json.dumps(schema_of(values, notes), indent=2, ensure_ascii=False) + "\n",
        README: made.between(README.read_text(encoding="utf-8"), "make chart", table),
    }


def read_notes(source: str) -> Iterator[tuple[Path_, Note]]:
    """The comments of every key that has some, by the key's path."""
    path: list[tuple[int, str]] = []
    note, open_text = Note(), False
    for line in source.splitlines():
        comment = line.strip()
        if comment.startswith("# --"):
            note.text, open_text = [comment.removeprefix("# --").strip()], True
        elif comment.startswith("# @"):
            kind, _, rest = comment.removeprefix("# @").partition(" ")
            note.schema |= json.loads(rest) if kind == "schema" else {}
            note.mark = "" if kind == "schema" else f"{kind} {rest}"
            open_text = False
        elif comment.startswith("#"):
            note.text += [comment.removeprefix("#").strip()] if open_text else []
        else:
            if match := _KEY.match(line):
                indent = len(match[1])
                path = [(at, key) for at, key in path if at < indent] + [(indent, match[2])]
                yield tuple(key for _, key in path), note
            note, open_text = Note(), False


def schema_of(values: dict[str, Any], notes: dict[Path_, Note]) -> dict[str, Any]:
    """The schema of all values."""
    services = {entry.name: entry.settings for entry in entries(SERVICES)}
    common = settings_schema(ProcessSettings, StatefulSettings)

    def of(value: Any, path: Path_) -> dict[str, Any]:
        note = notes.get(path, Note())
        found: dict[str, Any] = {"type": _NAMES[type(value)]}
        if note.description:
            found["description"] = note.description
        kind, _, name = note.mark.partition(" ")
        if kind == "settings":
            return found | common
        if kind == "service":
            own = {key: {"$ref": f"#/$defs/{key}"} for key in values["defaults"]}
            own["settings"] = settings_schema(ProcessSettings, services[name])
            return found | {"additionalProperties": False, "properties": own}
        if isinstance(value, dict) and not note.description:
            found |= {"additionalProperties": False, "properties": properties(value, path)}
        return found | note.schema

    def properties(value: dict[str, Any], path: Path_) -> dict[str, Any]:
        return {key: of(child, (*path, key)) for key, child in value.items()}

    whole = properties(values, ())
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "additionalProperties": False,
        # `global` is Helm's own, for charts that have this one as a part.
        "properties": whole | {"global": {"type": "object"}},
        # What a service may say, each as in `defaults`.
        "$defs": whole["defaults"]["properties"],
    }


def settings_schema(*models: type[Settings]) -> dict[str, Any]:
    """The settings of these models that people may choose."""
    found: dict[str, Any] = {}
    for model in models:
        whole = model.model_json_schema()
        for name, rule in whole["properties"].items():
            if not _NOT_FOR_PEOPLE.match(name):
                referred = rule.pop("$ref", "").rpartition("/")[2]
                rule = whole.get("$defs", {}).get(referred, {}) | rule
                found[name] = {key: rule[key] for key in sorted(rule.keys() - {"title", "default"})}
    return {"additionalProperties": False, "properties": dict(sorted(found.items()))}


def table_of(values: dict[str, Any], notes: dict[Path_, Note]) -> Iterator[str]:
    """The lines of the table of values."""
    yield "| value | default | what |"
    yield "|---|---|---|"
    for path, value in leaves(values, notes):
        what = notes.get(path, Note()).description.replace("|", "\\|")
        yield f"| `{'.'.join(path)}` | `{json.dumps(value, ensure_ascii=False)}` | {what} |"


def leaves(value: Any, notes: dict[Path_, Note], path: Path_ = ()) -> Iterator[tuple[Path_, Any]]:
    """Every value that is given as a whole."""
    if isinstance(value, dict) and not notes.get(path, Note()).description:
        for key, child in value.items():
            yield from leaves(child, notes, (*path, key))
    else:
        yield path, value


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
