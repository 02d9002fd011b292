"""Rows of a CSV with the line each begins at."""

import csv
from collections.abc import Iterator
from typing import TextIO

# Longest piece of a line that is held at once, in characters; no cell may be nearly as long.
_PIECE = 1 << 20
_DELIMITERS = ",;\t"

Row = list[str] | None


class _Lines:
    """Physical lines in bounded pieces; counts those that are over."""

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self.finished = 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        piece = self._text.readline(_PIECE)
        if not piece:
            raise StopIteration
        self.finished += piece[-1] in "\r\n"
        return piece


def read_rows(text: TextIO) -> Iterator[tuple[int, Row]]:
    """(line, cells) for each row that is not empty; cells are None for a row that is no CSV.

    Line 1 is the file's first. A cell longer than the csv module's limit of 131,072 characters, such as the rest of the
    file after a quote that nothing closes, spoils its row; reading goes on with the line after. The delimiter is the
    likeliest in the header. Open the text with newline="".
    """
    start = text.tell()
    header = text.readline(_PIECE)
    text.seek(start)
    lines = _Lines(text)
    reader = csv.reader(lines, delimiter=max(_DELIMITERS, key=header.count))
    while True:
        line = lines.finished + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield line, None
        else:
            if cells:
                yield line, cells
