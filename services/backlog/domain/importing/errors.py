"""What can go wrong with an import as a whole, and with one row of it."""

from services.kit.errors import Code, DsmError, InvalidArgument


class ImportStreamInvalid(DsmError):
    """The messages do not come as options first, then bytes."""

    code = Code.INVALID_ARGUMENT
    reason = "IMPORT_STREAM_INVALID"

    def __init__(self) -> None:
        super().__init__("An import begins with options, once, and goes on with the file's bytes.")


class ImportHeaderInvalid(DsmError):
    """The header lacks a column."""

    code = Code.INVALID_ARGUMENT
    reason = "IMPORT_HEADER_INVALID"

    def __init__(self, column: str, form: str) -> None:
        super().__init__(f"The file's header has no column {column!r}, which {form} needs.", column=column, format=form)


class ImportNoArray(DsmError):
    """A JSON file does not begin as its format does; `column` is what is not there."""

    code = Code.INVALID_ARGUMENT
    reason = "IMPORT_HEADER_INVALID"

    def __init__(self, missing: str, form: str) -> None:
        super().__init__(f"The file does not begin with {missing}, as {form} does.", column=missing, format=form)


class ImportEncodingInvalid(DsmError):
    """The bytes are not text in the encoding named; `offset` is that of the first bad byte, from 0."""

    code = Code.INVALID_ARGUMENT
    reason = "IMPORT_ENCODING_INVALID"

    def __init__(self, encoding: str, offset: int) -> None:
        super().__init__(f"The file is not {encoding} at byte {offset}.", encoding=encoding, offset=offset)


class ImportTooLarge(DsmError):
    """More rows or bytes than one import takes."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "IMPORT_TOO_LARGE"

    def __init__(self, limit: int, unit: str) -> None:
        super().__init__(f"One import takes at most {limit:,} {unit}: split the file.", limit=limit)


class ImportRowsRefused(DsmError):
    """A strict import met bad rows."""

    code = Code.INVALID_ARGUMENT
    reason = "IMPORT_ROWS_REFUSED"

    def __init__(self, line: int, field: str, rule: str, refused_count: int) -> None:
        super().__init__(
            f"Line {line}: {field} {rule}. {refused_count} rows are bad, so nothing was written.",
            line=line,
            field=field,
            rule=rule,
            refused_count=refused_count,
        )


class RowRefused(Exception):
    """A row cannot be taken: which field breaks which rule with which value."""

    def __init__(self, field: str, rule: str, value: object = "", key: str = "") -> None:
        super().__init__(field, rule)
        self.field = field
        self.rule = rule
        self.value = str(value)[:200]
        self.key = key


class RowSkipped(Exception):
    """A row is no work at all, and nothing to complain of."""


def unknown_encoding(name: str) -> InvalidArgument:
    """For an encoding that nobody knows."""
    return InvalidArgument("options.encoding", "must name a text encoding, as utf-8 or windows-1252", name)
