"""Clients of a machine whose services are killed, and who kills them."""

import signal

import grpc
import psutil

from services.local.folder import StackState


def channel_to(machine: StackState, service: str) -> grpc.Channel:
    """A channel to a service of the machine."""
    return grpc.insecure_channel(machine.urls[service])


def kill(machine: StackState, service: str) -> None:
    """kill -9 of the process that serves a service."""
    for child in psutil.Process(machine.pid).children():
        if child.cmdline()[-2:] == ["serve", service]:
            child.send_signal(signal.SIGKILL)
            return
    raise AssertionError(f"nobody serves {service}")
