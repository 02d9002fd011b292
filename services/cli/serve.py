"""`dsm serve`: one service, or all, in this process, by the settings in the environment; what a container runs."""

import asyncio
import gc
import math
import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.names import DEFAULT_PORT, HOST, SERVICES, address_variable

if TYPE_CHECKING:
    from services.cli.registry import Assembly
    from services.kit.server import Server

# Longest time to let go of databases and streams, once no call is in flight any more.
_STOP_SECONDS = 20
# How many objects that may be in cycles are made before the collector looks at them; Python's own measure is 700.
_YOUNG_OBJECTS = 10_000


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(serve)


def serve(
    service: Annotated[str, typer.Argument(help=f"{', '.join(SERVICES)}, or all.", metavar="SERVICE|all")],
) -> None:
    """Run one service, or all, with settings from the environment (DSM_*), until SIGTERM or Ctrl-C."""
    from services.cli.registry import assemble
    from services.kit.telemetry import log

    names: tuple[str, ...] = (service,)
    environ = dict(os.environ)
    if service == "all":
        # They call each other at the one port of this process, unless they are told otherwise.
        here = f"{HOST}:{os.environ.get('DSM_PORT', DEFAULT_PORT)}"
        names, environ = SERVICES, {address_variable(name): here for name in SERVICES} | environ
    assembly = assemble(names, environ)
    only = names[0] if len(names) == 1 else ""
    log.configure(assembly.process.log_level, assembly.process.log_format, only)
    run(assembly)


def run(
    assembly: "Assembly",
    *,
    on_ready: Callable[[], None] | None = None,
    every_second: Callable[[], None] | None = None,
    on_stop: Callable[[], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT. Needs the main thread, in which the callbacks are called as well.

    `on_ready` is called once every service takes calls, `on_stop` when the signal comes.
    """
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(assembly, on_ready, every_second, on_stop))
    signal.alarm(0)


def _spare_collector() -> None:
    """Let Python's collector of cycles look at what calls leave behind, in larger heaps, and not at what was loaded.

    Nearly all that a call makes is freed by its count of references; looking for the rest took a twentieth of the CPU.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS)


async def _serve(
    assembly: "Assembly",
    on_ready: Callable[[], None] | None,
    every_second: Callable[[], None] | None,
    on_stop: Callable[[], None] | None,
) -> None:
    from services.kit.server import Server
    from services.kit.telemetry import trace

    if assembly.process.otlp_endpoint:
        # OpenTelemetry is loaded only where it is wanted.
        from services.kit.telemetry.otlp import OtlpRecorder

        trace.start(OtlpRecorder(assembly.process.otlp_endpoint, assembly.process.trace_sample_ratio))
    server = Server(assembly.build(), assembly.process)
    server.bind()
    done = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, done.set)
    await server.start()
    _spare_collector()
    tasks = [asyncio.create_task(_when_ready(server, on_ready))] if on_ready else []
    if every_second:
        tasks.append(asyncio.create_task(_repeat(every_second)))
    await done.wait()
    if on_stop:
        on_stop()
    # The last resort: a stop that hangs ends here, by the default action of the signal, and leaves no process behind.
    signal.alarm(math.ceil(assembly.process.grace_seconds) + _STOP_SECONDS)
    for task in tasks:
        task.cancel()
    # A second Ctrl-C does not wait until everything is drained.
    loop.remove_signal_handler(signal.SIGINT)
    await server.stop()
    await trace.stop()


async def _when_ready(server: "Server", then: Callable[[], None]) -> None:
    while not server.ready:  # noqa: ASYNC110  # readiness is what the services' own checks say; there is no event
        await asyncio.sleep(0.02)
    then()


async def _repeat(work: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(1)
        work()
