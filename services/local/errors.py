"""The one error of the local stack, and the advice that goes with what a server wrote before it died."""

from collections.abc import Sequence

_ADVICE = (
    ("no space left on device", "The disk is full: free some space and start again."),
    ("disk quota exceeded", "The disk quota is used up: free some space and start again."),
    ("address already in use", "The port is taken by another program: stop that one or choose another port."),
    ("permission denied", "This user may not use a file it needs: check who owns the data folder."),
    ("wrong ownership", "The data folder belongs to another user: start as that user or choose another folder."),
    ("database files are incompatible", "Another major version of PostgreSQL made this folder: choose another one."),
    ("cannot allocate memory", "The machine is out of memory: stop something else and start again."),
    ("could not access file", "A file of the installation is missing: install the packages again."),
)


class StackError(Exception):
    """The local stack cannot do what was asked; the message is a sentence for people and says what to do."""


def failed(what: str, log_lines: Sequence[str], log_file: object) -> StackError:
    """Builds the error of a server that did not start, from the last lines that it logged."""
    logged = " | ".join(log_lines) or "nothing was logged"
    return StackError(f"{what}. {_advice(logged)} Last lines of {log_file}: {logged}")


def _advice(logged: str) -> str:
    lowered = logged.lower()
    for symptom, advice in _ADVICE:
        if symptom in lowered:
            return advice
    return "Read the log and start again."
