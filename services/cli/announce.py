"""What `dsm up` tells when everything runs."""

import os
import time
from collections.abc import Mapping
from pathlib import Path

from services.cli import grpcurl
from services.cli.data import data_folder
from services.cli.names import HOST, SERVICES
from services.cli.output import out, table
from services.cli.servers import without_password
from services.cli.who import TOKEN_FILE_VARIABLE, token
from services.local.folder import StackState


def announce(state: StackState, folder: Path) -> None:
    """Tell what runs where, how long it took to start, and what to try first."""
    seconds = time.time() - state.process_created
    addresses = {name: state.urls[name] for name in SERVICES}
    together = len(set(addresses.values())) == 1
    rows = [("Mode", "every service in one process" if together else "each service in a process of its own")]
    if together:
        rows += [("gRPC", addresses[SERVICES[0]]), ("Metrics", state.urls[f"metrics.{SERVICES[0]}"])]
    else:
        rows += [(name.capitalize(), f"{addresses[name]}, {state.urls[f'metrics.{name}']}") for name in SERVICES]
    rows += [
        ("PostgreSQL", without_password(state.urls["postgres"]) or "one per service, as set"),
        ("NATS", without_password(state.urls["nats"])),
        ("Identity", identity(os.environ)),
        ("Data", str(folder)),
        ("Logs", str(folder / "logs")),
    ]
    out.print(f"[bold green]DSM is ready[/] after {seconds:.1f} s.")
    grid = table("", ["", ""], rows)
    grid.show_header = False
    out.print(grid, soft_wrap=True)
    prefix = "" if folder == data_folder(None, {}) else f"DSM_DATA_DIR={folder} "
    out.print("\nTry:", soft_wrap=True)
    if grpcurl.asks_for_tokens(os.environ) and not token():
        out.print(
            f"  dsm token --subject me --role admin > token; export {TOKEN_FILE_VARIABLE}=$PWD/token", soft_wrap=True
        )
    out.print(f"  grpcurl {grpcurl.options()} {addresses[SERVICES[0]]} list", soft_wrap=True)
    out.print(f"  {prefix}dsm status", soft_wrap=True)
    out.print(f"  {prefix}dsm demo", soft_wrap=True)


def identity(environ: Mapping[str, str]) -> str:
    """Whether DSM knows its callers, and who else can reach it if it does not."""
    if grpcurl.asks_for_tokens(environ):
        return "on: every call needs a token (dsm token --help)"
    host = environ.get("DSM_HOST", HOST)
    here = host in ("localhost", "::1", "[::1]") or host.startswith("127.")
    if here:
        return f"off: whoever reaches {host}, and that is this machine alone, may make every call"
    return f"off, and {host} can be reached from elsewhere: whoever does may make every call; see docs/securing.md"
