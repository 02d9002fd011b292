"""The real `dsm serve`, with protections broken by name, or with a clock of its own, if so asked.

    python -m tests.faults.serve backlog --without inbox,version
    python -m tests.faults.serve sprint --clock now.txt     # the file holds an instant in ISO 8601, read at every look

A protection cannot be switched off in what ships; here it is replaced before the services are built.
"""

import argparse
import os
from datetime import datetime
from pathlib import Path

from services.kit import clock


def main() -> None:
    """Break what is named, then serve until told to stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("service")
    parser.add_argument("--without", default="")
    parser.add_argument("--clock", type=Path)
    asked = parser.parse_args()
    if asked.clock:
        vars(clock).update(utc_now=lambda: datetime.fromisoformat(asked.clock.read_text()))
    # Imported only now: they take the clock as it is.
    from services.cli.registry import assemble
    from services.cli.serve import run
    from services.kit.telemetry import log
    from tests.faults.broken import BREAKS

    for protection in filter(None, asked.without.split(",")):
        BREAKS[protection]()
    assembly = assemble([asked.service], os.environ)
    log.configure(assembly.process.log_level, assembly.process.log_format)
    run(assembly)


if __name__ == "__main__":
    main()
