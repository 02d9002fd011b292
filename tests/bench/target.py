"""What is measured: `dsm up` in a process of its own."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import psutil
from dsm.backlog.v1.backlog_service_pb2_grpc import BacklogServiceStub
from dsm.project.v1.project_service_pb2_grpc import ProjectServiceStub
from dsm.sprint.v1.sprint_service_pb2_grpc import SprintServiceStub

from services.local.folder import StackState, read_state
from services.local.process import wait_until
from tests.processes import clean_environ


@dataclass
class Target:
    """A running DSM, and the stubs to call it."""

    state: StackState
    process: psutil.Process
    project: Any = field(init=False)
    backlog: Any = field(init=False)
    sprint: Any = field(init=False)

    @property
    def servers(self) -> list[psutil.Process]:
        """The processes that run services."""
        return [self.process, *(it for it in self.process.children() if "serve" in it.cmdline())]

    def connect(self) -> None:
        """Open the channels; to be called in the running event loop."""
        self.project = ProjectServiceStub(self.channel("project"))
        self.backlog = BacklogServiceStub(self.channel("backlog"))
        self.sprint = SprintServiceStub(self.channel("sprint"))

    def channel(self, service: str) -> grpc.aio.Channel:
        """A channel to a service."""
        return grpc.aio.insecure_channel(self.state.urls[service])


@contextmanager
def running_dsm(*, processes: bool = False) -> Iterator[Target]:
    """`dsm up` in a folder of its own, stopped at the end; with `processes`, one for each service."""
    with tempfile.TemporaryDirectory(prefix="dsm-bench-") as name:
        folder = Path(name)
        environ = clean_environ()
        environ |= {"DSM_DATA_DIR": name}
        command = [sys.executable, "-m", "services.cli", "up", "--port", "0", "--metrics-port", "0"]
        command += ["--processes"] if processes else []
        with (folder / "up.log").open("wb") as log:
            process = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
        try:
            if not wait_until(lambda: "dsm demo" in (folder / "up.log").read_text(), 60):
                raise SystemExit((folder / "up.log").read_text())
            state = read_state(folder)
            assert state
            target = Target(state, psutil.Process(process.pid))
            target.connect()
            yield target
        finally:
            process.terminate()
            process.wait(30)
