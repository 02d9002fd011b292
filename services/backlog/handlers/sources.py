"""How the options of an import say to read its bytes."""

import codecs
from typing import IO

from dsm.backlog.v1 import import_pb2

from services.backlog.convert.exports import edge_of, is_header, read_entry
from services.backlog.convert.tasks import STATE_OF
from services.backlog.domain.importing.columns import Format
from services.backlog.domain.importing.errors import unknown_encoding
from services.backlog.domain.importing.github import IssueReader
from services.backlog.domain.importing.source import CsvSource, JsonSource, Source
from services.backlog.domain.task import TaskState
from services.kit.errors import InvalidArgument

DEFAULT_ENCODING = "utf-8"

_SYSTEMS = {Format.JIRA_CSV: "jira", Format.MAPPED_CSV: "csv", Format.GITHUB_JSON: "github"}
# Encodings of Python's own that are no character sets.
_NO_CHARACTER_SETS = {"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"}


def source_of(file: IO[bytes], options: import_pb2.ImportOptions) -> Source:
    """What reads the file; InvalidArgument for an option that is of no use."""
    form = Format(import_pb2.ImportFormat.Name(options.format).removeprefix("IMPORT_FORMAT_"))
    encoding = _codec(options.encoding or DEFAULT_ENCODING)
    states = {name: STATE_OF[state] for name, state in options.status_map.items()}
    if form.is_csv:
        return CsvSource(file, encoding, form, dict(options.column_mapping), states, _system(form, options))
    if options.column_mapping:
        raise InvalidArgument("options.column_mapping", f"must be empty with {form}, which has no columns")
    if form is Format.GITHUB_JSON:
        return _github(file, encoding, states, _system(form, options))
    if states:
        raise InvalidArgument("options.status_map", f"must be empty with {form}, which has states of its own")
    return JsonSource(file, encoding, form, lambda: read_entry, is_header, edge_of)


def _github(file: IO[bytes], encoding: str, states: dict[str, TaskState], system: str) -> Source:
    return JsonSource(file, encoding, Format.GITHUB_JSON, lambda: IssueReader(states, system).read)


def _system(form: Format, options: import_pb2.ImportOptions) -> str:
    return options.origin_system or _SYSTEMS[form]


def _codec(encoding: str) -> str:
    """The codec's name; InvalidArgument if there is no such encoding of text."""
    try:
        codec = codecs.lookup(encoding)
        "".encode(encoding)
    except (LookupError, ValueError):
        raise unknown_encoding(encoding) from None
    if codec.name in _NO_CHARACTER_SETS:
        raise unknown_encoding(encoding)
    # Takes a byte order mark, and does without one.
    return "utf-8-sig" if codec.name == "utf-8" else codec.name
