"""The one error of the local stack, and the advice that goes with what a server wrote before it died."""

_LAST_LINES = 5
_ADVICE = (
    ("no space left on device", "The disk is full: free some space and start again."),
    ("disk quota exceeded", "The disk quota is used up: free some space and start again."),
    ("address already in use", "The port is taken by another program: stop that one or choose another port."),
    ("check free disk space", "The disk is full: free some space and start again."),
    ("permission denied", "This user may not use a file it needs: check who owns the data folder."),
    ("wrong ownership", "The data folder belongs to another user: start as that user or choose another folder."),
    ("database files are incompatible", "Another major version of PostgreSQL made this folder: choose another one."),
    ("cannot allocate memory", "The machine is out of memory: stop something else and start again."),
    ("directory not empty", "Something else is in this folder: choose another one."),
    ("could not access file", "A file of the installation is missing: install the packages again."),
)


class StackError(Exception):
    """The local stack cannot do what was asked; the message is a sentence for people and says what to do."""


def failed(what: str, logged: str, log_file: object) -> StackError:
    """Builds the error of a server that did not start, from what it logged meanwhile."""
    last = " | ".join(logged.strip().splitlines()[-_LAST_LINES:]) or "nothing was logged"
    return StackError(f"{what}. {advice(logged)} Last lines of {log_file}: {last}")


def advice(reason: str) -> str:
    """Says what to do about a server's log or a system error."""
    lowered = reason.lower()
    for symptom, sentence in _ADVICE:
        if symptom in lowered:
            return sentence
    return "Look into the reason and start again."
