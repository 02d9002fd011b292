"""`dsm token`: makes a token with the shared secret, for development and for one's own machines."""

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from services.cli.errors import CliError

_ROLES = ("viewer", "member", "scrum_master", "admin")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST_DAYS = 366


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="token")(token)


def token(
    subject: Annotated[str, typer.Option(help="Who it is for: what DSM records as the actor.")],
    role: Annotated[
        list[str] | None,
        typer.Option(help=f"Role over all projects: {', '.join(_ROLES)} or service; may be repeated."),
    ] = None,
    project: Annotated[
        list[str] | None,
        typer.Option(metavar="PROJECT=ROLE", help="Role in one project, as XD=member; may be repeated."),
    ] = None,
    expires: Annotated[str, typer.Option(metavar="TIME", help="How long it is good for, as 30m, 8h or 90d.")] = "8h",
    secret_file: Annotated[
        Path | None,
        typer.Option(
            envvar="DSM_JWT_SECRET_FILE",
            metavar="FILE",
            help="File with the secret of DSM.",
            show_default="the secret in DSM_JWT_SECRET",
        ),
    ] = None,
    audience: Annotated[
        str, typer.Option(envvar="DSM_JWT_AUDIENCE", help="What it is for, as DSM's setting says.")
    ] = "dsm",
    issuer: Annotated[
        str, typer.Option(envvar="DSM_JWT_ISSUER", help="Who gave it, as DSM's setting says.", show_default="none")
    ] = "",
) -> None:
    """Make a token with DSM's shared secret and print it.

    Example: [bold]dsm token --subject anna --role scrum_master --project XD=member > token[/bold]
    """
    from services.kit.security.identity import TokenInvalid, caller_of
    from services.kit.security.tokens import mint

    roles, project_roles = _roles(role or ()), _project_roles(project or ())
    if not roles and not project_roles:
        raise CliError("Say what the token allows: give --role or --project at least once.")
    seconds = _seconds(expires)
    try:
        caller_of({"sub": subject, "exp": seconds, "roles": roles})
    except TokenInvalid as error:
        raise CliError(f"{subject!r} cannot be the subject: {error.why}.") from None
    made = mint(
        _secret(secret_file, os.environ),
        subject,
        seconds,
        roles=roles,
        project_roles=project_roles,
        audience=audience,
        issuer=issuer,
    )
    sys.stdout.write(made + "\n")


def _roles(names: list[str] | tuple[str, ...]) -> list[str]:
    for name in names:
        if name not in (*_ROLES, "service"):
            raise CliError(f"There is no role {name!r}: it is one of {', '.join(_ROLES)} or service.")
    return list(names)


def _project_roles(pairs: list[str] | tuple[str, ...]) -> dict[str, str]:
    from services.kit.security.identity import project_of

    found = {}
    for pair in pairs:
        project, equals, role = pair.partition("=")
        if not equals or project_of("project_id", project) is None or role not in _ROLES:
            raise CliError(f"{pair!r} is no role in a project: write it as XD=member, with {', '.join(_ROLES)}.")
        found[project] = role
    return found


def _seconds(text: str) -> int:
    match = re.fullmatch(r"([1-9][0-9]{0,8})([smhd])", text)
    seconds = int(match[1]) * _SECONDS[match[2]] if match else 0
    if not 0 < seconds <= _LONGEST_DAYS * _SECONDS["d"]:
        raise CliError(f"{text!r} is no time up to a year: write it as 30m, 8h or 90d.")
    return seconds


def _secret(file: Path | None, environ: Mapping[str, str]) -> bytes:
    from services.kit.security.keys import secret_in

    given = environ.get("DSM_JWT_SECRET", "")
    if file is None and not given:
        raise CliError(
            "There is no secret to sign with: name its file by --secret-file or DSM_JWT_SECRET_FILE. Where an identity "
            "provider gives the tokens (DSM_JWT_JWKS), get one there."
        )
    try:
        return secret_in(given.encode() if file is None else file.read_bytes())
    except OSError as error:
        raise CliError(f"{file} cannot be read ({error.strerror}): name the file with DSM's secret.") from None
    except ValueError as error:
        raise CliError(f"{file or 'DSM_JWT_SECRET'} holds no secret of DSM: {error}.") from None
