"""The data folder: where `dsm up` keeps everything, and where the other commands find out what runs."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data", envvar="DSM_DATA_DIR", help="Data folder.", show_default="~/.local/share/dsm", file_okay=False
    ),
]


def data_folder(given: Path | None, environ: Mapping[str, str] = os.environ) -> Path:
    """The folder that was named, else DSM_DATA_DIR, else `dsm` in the user's data home (XDG base directories)."""
    if given is None and environ.get("DSM_DATA_DIR"):
        given = Path(environ["DSM_DATA_DIR"])
    if given is None:
        home = environ.get("XDG_DATA_HOME", "")
        # The XDG specification: a relative path there is invalid and ignored.
        given = (Path(home) if Path(home).is_absolute() else Path("~/.local/share")) / "dsm"
    return given.expanduser().absolute()
