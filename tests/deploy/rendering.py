"""What helm makes of the chart, and how to find one's way in it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import typer
import yaml  # type: ignore[import-untyped]

from scripts.tools import find
from services.cli import main as cli

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "dsm"
TABLES = sorted(path.stem for path in (CHART / "ci").glob("*.yaml"))
RELEASE, NAMESPACE = "dsm", "team"

Object = dict[str, Any]

# The same in C takes a tenth of the time; PyYAML has it where libyaml was there when it was built.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Pod:
    """The pod of something that makes pods."""

    kind: str
    name: str
    labels: dict[str, str]
    spec: Object

    @property
    def containers(self) -> list[Object]:
        """Every container, with those that run before."""
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    @property
    def component(self) -> str:
        """What it is for: a service, or a job."""
        return self.labels["app.kubernetes.io/component"]

    @property
    def sources(self) -> Iterator[tuple[str, Object]]:
        """The secrets and maps that are mounted, each with the kind that its volume says."""
        for volume in self.spec["volumes"]:
            for source in volume.get("projected", {}).get("sources", [volume]):
                yield from ((kind, source[kind]) for kind in ("secret", "configMap") if kind in source)

    @property
    def files(self) -> set[str]:
        """Where the single files are that volumes put there."""
        places = {mount["name"]: mount["mountPath"] for it in self.containers for mount in it["volumeMounts"]}
        return {
            f"{places[volume['name']]}/{item['path']}"
            for volume in self.spec["volumes"]
            for source in volume.get("projected", {}).get("sources", [])
            for kind in source.values()
            for item in kind["items"]
        }

    @property
    def ours(self) -> bool:
        """Whether it runs DSM's image."""
        return self.kind != "StatefulSet"


def read(path: Path) -> Any:
    """What a YAML file holds."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def helm(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run helm; it needs no cluster for what is asked here."""
    return subprocess.run([str(find("helm")), *map(str, arguments)], capture_output=True, text=True, check=False)


def values_file(table: str) -> Path:
    """One of the values files that the chart is checked for."""
    return CHART / "ci" / f"{table}.yaml"


@cache
def text(table: str, *settings: str, release: str = RELEASE) -> str:
    """The rendered chart."""
    extra = [word for setting in settings for word in ("--set", setting)]
    done = helm("template", release, CHART, "--namespace", NAMESPACE, "--values", values_file(table), *extra)
    assert done.returncode == 0, done.stderr
    return done.stdout


@cache
def objects(table: str, *settings: str, release: str = RELEASE) -> tuple[Object, ...]:
    """The rendered objects."""
    found = yaml.load_all(text(table, *settings, release=release), Loader=_Loader)
    return tuple(it for it in found if it)


def of_kind(found: Sequence[Object], kind: str) -> dict[str, Object]:
    """The objects of a kind, by name."""
    return {it["metadata"]["name"]: it for it in found if it["kind"] == kind}


def pods(found: Sequence[Object]) -> Iterator[Pod]:
    """Every pod that these objects make, and those that the orchestrator makes of what it is given."""
    for it in found:
        kind, name = it["kind"], it["metadata"]["name"]
        template = it if kind == "Pod" else it.get("spec", {}).get("template")
        if kind == "CronJob":
            template = it["spec"]["jobTemplate"]["spec"]["template"]
        if template:
            yield Pod(kind, name, template["metadata"]["labels"], template["spec"])
        if kind == "ConfigMap" and "pod.json" in it["data"]:
            yield Pod("DailyScrum", name, it["metadata"]["labels"], json.loads(it["data"]["pod.json"]))


def environ(container: Object, found: Sequence[Object]) -> dict[str, str]:
    """The environment of a container; what secrets hold is made up."""
    held: dict[str, str] = {}
    for source in container.get("envFrom", []):
        held |= of_kind(found, "ConfigMap")[source["configMapRef"]["name"]]["data"]
    for variable in container.get("env", []):
        name = variable["name"]
        made_up: str = {"DSM_NATS_URL": "nats://somewhere:4222"}.get(name, "postgresql://somewhere/database")
        held[name] = variable.get("value", made_up)
    return held


def parse(arguments: Sequence[str]) -> None:
    """Let the `dsm` command read these arguments, without doing anything; raises what it finds wrong with them."""
    if list(arguments) == ["--help"]:
        return
    cli.load(arguments)
    command: Any = typer.main.get_command(cli.app)
    words, context = list(arguments), None
    while isinstance(command, typer.core.TyperGroup):
        name, command, words = command.resolve_command(command.make_context("dsm", words.copy(), parent=context), words)
    command.make_context(name, words)
