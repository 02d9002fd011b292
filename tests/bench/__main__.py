"""Benchmarks: `make bench`, or `python -m tests.bench [NAME …] [--calls N] [--tasks N] [--processes] [--json]`.

Everything is measured in one run against `dsm up` in a process of its own (with --processes, one for each service), on
a data folder of its own with durable settings, and given as a ratio to a bare gRPC echo of the same run: absolute
figures say more of the machine than of DSM.
"""

import argparse
import asyncio
import json
import sys

import uvloop
from rich.console import Console
from rich.table import Table

from tests.bench import calls, flows, pages
from tests.bench.load import Measure
from tests.bench.target import running_dsm

_CALLS = {
    "echo": calls.echo,
    "get-task": calls.get_task,
    "list-tasks": calls.list_tasks,
    "update-task": calls.update_task,
    "update-progress": calls.update_progress,
}
_FLOWS = {
    "delay": flows.delay,
    "start-sprint": flows.start_sprint,
    "import": flows.import_backlog,
    "memory": flows.memory,
    "pages": pages.pages,
}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.bench", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join([*_CALLS, *_FLOWS]) + "; default all")
    parser.add_argument("--calls", type=int, default=3000, help="calls per measurement (default 3000)")
    parser.add_argument("--concurrency", type=int, default=16, help="calls in flight (default 16)")
    parser.add_argument(
        "--tasks", type=int, default=10_000, help="tasks of the (large) project listed from (default 10000)"
    )
    parser.add_argument("--processes", action="store_true", help="a process for each service, as in containers")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    options = parser.parse_args()
    options.names = options.names or [*_CALLS, *_FLOWS]
    if unknown := set(options.names) - {*_CALLS, *_FLOWS}:
        parser.error(f"there is no benchmark {sorted(unknown)[0]!r}")
    return options


async def _run(options: argparse.Namespace) -> tuple[dict[str, Measure], dict[str, str]]:
    measures: dict[str, Measure] = {}
    figures: dict[str, str] = {}
    with running_dsm(processes=options.processes) as target:
        for name in options.names:
            print(f"{name} …", file=sys.stderr)
            if name in _CALLS:
                measures[name] = await _CALLS[name](target, options)
            else:
                figures |= await _FLOWS[name](target, options)
    return measures, figures


def _show(measures: dict[str, Measure], figures: dict[str, str]) -> None:
    console = Console()
    echo = measures.get("echo")
    table = Table("call", "calls/s", "of echo", "p50 ms", "p99 ms", "server CPU ms/call")
    for name, measure in measures.items():
        ratio = f"{measure.rate / echo.rate:.2f}" if echo else ""
        row = (f"{measure.rate:.0f}", ratio, f"{measure.p50_ms:.1f}", f"{measure.p99_ms:.1f}", f"{measure.cpu_ms:.2f}")
        table.add_row(name, *row)
    if measures:
        console.print(table)
    for name, figure in figures.items():
        console.print(f"{name}: {figure}")


def main() -> None:
    """Run what was asked for and print it."""
    options = _options()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        measures, figures = runner.run(_run(options))
    if options.json:
        print(json.dumps({"calls": {name: vars(m) for name, m in measures.items()}, "figures": figures}))
    else:
        _show(measures, figures)


main()
