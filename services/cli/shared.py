"""Options that every command has which talks to DSM: those that have a --target."""

import functools
import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import typer

Use = Callable[..., AbstractContextManager[None]]


def add_options(app: typer.Typer, options: Mapping[str, Any], use: Use) -> None:
    """Put options, by the names of parameters, after --target; the command runs inside of `use` of what they hold."""
    for command in app.registered_commands:
        if command.callback and "target" in inspect.signature(command.callback).parameters:
            command.callback = _with_options(command.callback, options, use)
    for group in app.registered_groups:
        if group.typer_instance:
            add_options(group.typer_instance, options, use)


def _with_options(command: Callable[..., Any], options: Mapping[str, Any], use: Use) -> Callable[..., Any]:
    signature = inspect.signature(command, eval_str=True)
    if options.keys() <= signature.parameters.keys():
        return command

    @functools.wraps(command)
    def run(**arguments: Any) -> Any:
        given = {name: arguments.pop(name) for name in options}
        with use(**given):
            return command(**arguments)

    parameters = []
    for parameter in signature.parameters.values():
        parameters.append(parameter)
        if parameter.name == "target":
            parameters += [_parameter(name, annotation) for name, annotation in options.items()]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _parameter(name: str, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default="", annotation=annotation)
