"""Entries of a JSON array with the line each begins at, of which no more is held than one at a time."""

import json
from collections.abc import Iterator
from typing import Any, NoReturn, TextIO

# Longest entry, in characters.
MAX_ENTRY = 1 << 22
_PIECE = 1 << 16
_BLANKS = " \t\r\n"


class NoJson(Exception):
    """From this line on the file is no JSON."""

    def __init__(self, line: int, found: str) -> None:
        super().__init__(line, found)
        self.line = line
        self.found = found


def read_entries(text: TextIO) -> Iterator[tuple[int, Any]]:
    """(line, value) of each entry of an array, or of several arrays one after another; NoJson where it breaks off.

    Line 1 is the file's first. Several arrays are what a download page by page leaves behind.
    """
    reader = _Reader(text)
    while reader.peek():
        reader.expect("[")
        if reader.peek() == "]":
            reader.expect("]")
            continue
        while True:
            reader.peek()
            yield reader.line, reader.value()
            if reader.peek() != ",":
                break
            reader.expect(",")
        reader.expect("]")


def begins_array(text: TextIO) -> bool:
    """True if the first thing is an array."""
    return _Reader(text).peek() == "["


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


class _Reader:
    def __init__(self, text: TextIO) -> None:
        self._text = text
        self._buffer = ""
        self._at = 0
        self._ended = False
        self._decoder = json.JSONDecoder(parse_constant=_no_constant)
        # Of what comes next.
        self.line = 1

    def peek(self) -> str:
        """The next character that is not blank; empty at the end."""
        while True:
            while self._at < len(self._buffer):
                character = self._buffer[self._at]
                if character not in _BLANKS:
                    return character
                self.line += character == "\n"
                self._at += 1
            if not self._fill(_PIECE):
                return ""

    def expect(self, character: str) -> None:
        """Pass over a character that must come next."""
        if self.peek() != character:
            self._fail()
        self._at += 1

    def value(self) -> Any:
        """The value that comes next. It is tried again with twice as much text as long as it is no whole one."""
        size = _PIECE
        while True:
            try:
                value, end = self._decoder.raw_decode(self._buffer, self._at)
            except RecursionError:
                self._fail()
            except ValueError:
                if self._ended:
                    self._fail()
            else:
                # A number where the text ends may go on.
                if end < len(self._buffer) or self._ended:
                    self.line += self._buffer.count("\n", self._at, end)
                    self._at = end
                    return value
            if len(self._buffer) - self._at > MAX_ENTRY:
                self._fail()
            self._fill(size)
            size *= 2

    def _fill(self, size: int) -> bool:
        """Read on; False at the end."""
        piece = self._text.read(size)
        self._ended = not piece
        self._buffer, self._at = self._buffer[self._at :] + piece, 0
        return bool(piece)

    def _fail(self) -> NoReturn:
        raise NoJson(self.line, self._buffer[self._at : self._at + 200])
