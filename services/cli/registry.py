"""Which services there are: the only place that imports their `main`s."""

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from services.cli.errors import CliError
from services.cli.names import SERVICES, address_variable
from services.kit.service import Service
from services.kit.settings import PREFIX, ProcessSettings, ServiceSettings, StatefulSettings, load, refuse_unknown


@dataclass(frozen=True)
class Entry:
    """One service: its model of settings, and how it is made of them."""

    name: str
    settings: type[ServiceSettings]
    build: Callable[[Any], Service]


@dataclass(frozen=True)
class Assembly:
    """Services with their settings, to be built inside of a running event loop."""

    process: ProcessSettings
    parts: tuple[tuple[Entry, ServiceSettings], ...]

    def build(self) -> list[Service]:
        """Make the services; nothing is started yet."""
        return [entry.build(settings) for entry, settings in self.parts]


def entries(names: Iterable[str]) -> list[Entry]:
    """Import services. One process imports only those that it runs: each brings libraries of its own."""
    found = []
    for name in names:
        if name not in SERVICES:
            raise CliError(f"There is no service {name!r}: name one of {', '.join(SERVICES)}, or `all`.")
        module = import_module(f"services.{name}.main")
        found.append(Entry(name, module.SETTINGS, module.build))
    return found


def assemble(names: Iterable[str], environ: Mapping[str, str], process: Mapping[str, object] | None = None) -> Assembly:
    """Read the settings of the process and of its services; `process` wins over the environment.

    Raises SettingsError for what is missing, malformed or unknown.
    """
    chosen = entries(names)
    kinds = {"": ProcessSettings} | {entry.name: entry.settings for entry in chosen}
    refuse_unknown({name: value for name, value in environ.items() if not _for_others(name, kinds)}, kinds)
    parts = tuple((entry, load(entry.settings, environ, entry.name)) for entry in chosen)
    return Assembly(load(ProcessSettings, environ, "", **(process or {})), parts)


def _for_others(variable: str, chosen: Container[str]) -> bool:
    """Whether a variable is meant for services that do not run here: containers may share one environment."""
    others = tuple(f"{PREFIX}{name.upper()}_" for name in SERVICES if name not in chosen)
    shared = {address_variable(name) for name in SERVICES} | {
        PREFIX + it.upper() for it in StatefulSettings.model_fields
    }
    return variable.startswith(others) or variable in shared
