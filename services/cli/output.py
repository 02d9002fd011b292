"""What commands print: tables for people, JSON for scripts.

A command that shows data takes `as_json: JsonOption = False` and prints either JSON or tables to stdout, never both:

    if as_json:
        print_json(answer)                       # a protobuf message, a list of them, or plain data
    else:
        out.print(table("Board", ["Task", "Title", "Points"], rows))

What accompanies the data (progress bars, hints) goes to `err`, the console on stderr, so that stdout stays clean.
`out.print` reads [markup]; text that came from outside goes through `escape` (tables of `table` do so themselves).
"""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

__all__ = ["JsonOption", "counted", "err", "escape", "out", "plain", "print_json", "progress", "table"]

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts instead of tables.")]

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Iterable[str] = ()) -> Table:
    """A table for people. Cells are shown as they are, or as given if they are rich Text; `right` names columns of
    numbers, which are aligned on the right."""
    made = Table(title=title or None, title_justify="left", title_style="bold", header_style="bold", show_edge=False)
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else escape("" if cell is None else str(cell)) for cell in row))
    return made


def counted(number: int, noun: str) -> str:
    """A number and what it counts: "1 task", "1,200 tasks"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def print_json(data: Message | Iterable[Message] | Any) -> None:
    """Print protobuf's JSON, or plain data as JSON, to stdout; nothing else goes there."""
    sys.stdout.write(json.dumps(plain(data), indent=2, ensure_ascii=False) + "\n")


def plain(data: Message | Iterable[Message] | Any) -> Any:
    """Messages as protobuf JSON with the contract's field names, also inside of lists and dicts."""
    if isinstance(data, Message):
        return MessageToDict(data, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    if isinstance(data, dict):
        return {key: plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [plain(value) for value in data]
    return data


@contextmanager
def progress() -> Iterator[Progress]:
    """A progress bar on stderr that is gone when the work is: `task = bar.add_task("Importing", total=n)`."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, transient=True) as bar:
        yield bar
