"""The real `dsm serve`, with protections broken by name if so asked.

    python -m tests.faults.serve backlog --without inbox,version

A protection cannot be switched off in what ships; here it is replaced before the services are built.
"""

import argparse
import os

from services.cli.registry import assemble
from services.cli.serve import run
from services.kit import log
from tests.faults.broken import BREAKS


def main() -> None:
    """Break what is named, then serve until told to stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("service")
    parser.add_argument("--without", default="")
    asked = parser.parse_args()
    for protection in filter(None, asked.without.split(",")):
        BREAKS[protection]()
    assembly = assemble([asked.service], os.environ)
    log.configure(assembly.process.log_level, assembly.process.log_format)
    run(assembly)


if __name__ == "__main__":
    main()
