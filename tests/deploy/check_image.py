"""The image and the compose file: what they name is there. Nothing is built, since that needs an engine."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.tools import find
from services.cli.names import SERVICES, STATEFUL, database_variable
from services.cli.registry import assemble
from services.kit.serving import probes
from services.local.process import choose_port
from tests.deploy.rendering import CHART, ROOT, Object, objects, parse, pods, read

DEPLOY = ROOT / "deploy"
DOCKERFILE = DEPLOY / "Dockerfile"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
COMPOSE: Object = read(DEPLOY / "compose.yaml")
DSM = {name: it for name, it in COMPOSE["services"].items() if it["image"].startswith("dsm:")}
PINNED = re.compile(r":\d+\.\d+\.\d+(-[\w.]+)*$")


def instructions() -> Iterator[tuple[str, str]]:
    """The instructions of the Dockerfile with their arguments, each on one line."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    for line in filter(None, map(str.strip, text.splitlines())):
        word, _, rest = line.partition(" ")
        yield word, re.sub(r"\s+", " ", rest.strip())


def last_stage() -> list[tuple[str, str]]:
    """The instructions of the stage that is shipped."""
    found = list(instructions())
    return found[max(number for number, (word, _) in enumerate(found) if word == "FROM") :]


def test_hadolint_has_nothing_to_say_against_it() -> None:
    done = subprocess.run([str(find("hadolint")), str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_base_is_pinned_and_the_same_in_both_stages() -> None:
    bases = [rest.split(" ")[0] for word, rest in instructions() if word == "FROM"]
    assert len(bases) == 2
    assert len(set(bases)) == 1
    assert PINNED.search(bases[0])
    python = re.search(r"python:(\d+\.\d+)\.", bases[0])
    assert python
    assert f">={python[1]}" == PROJECT["requires-python"]


def test_it_does_not_run_as_root() -> None:
    [user] = [rest for word, rest in last_stage() if word == "USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    for pod in pods(objects("minimal")):
        assert user == "{runAsUser}:{runAsGroup}".format(**pod.spec["securityContext"])


def test_what_it_copies_is_in_the_repository_and_in_the_context() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [rest for word, rest in instructions() if word == "COPY" and not rest.startswith("--from=")]
    assert copied
    for rest in copied:
        for source in rest.split(" ")[:-1]:
            assert (ROOT / source).exists(), source
            assert source in allowed
    assert {source for rest in copied for source in rest.split(" ")[:-1]} == allowed


def test_packages_are_checked_by_hash_and_nothing_to_build_with_is_shipped() -> None:
    runs = [rest for word, rest in instructions() if word == "RUN"]
    assert any("--require-hashes" in run and "--requirement requirements.lock" in run for run in runs)
    assert all("--no-index" in run or "--require-hashes" in run for run in runs if " install " in run)
    [removed] = [run.partition("uninstall --yes")[2].split() for run in runs if "hatchling" in run]
    locked = re.findall(r"^([\w.-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert set(removed) <= set(locked)
    shipped = [rest for word, rest in last_stage() if word == "COPY"]
    assert shipped == ["--from=build /opt/dsm /opt/dsm"]
    assert any("pip uninstall" in rest for word, rest in last_stage() if word == "RUN")


def test_its_command_is_the_one_that_the_package_brings() -> None:
    last = dict(last_stage())
    [command] = json.loads(last["ENTRYPOINT"])
    assert command in PROJECT["scripts"]
    parse(json.loads(last["CMD"]))


def test_its_health_is_asked_where_the_server_answers(tmp_path: Path) -> None:
    """The very command is run, but for the port: while a service is ready, and when nobody is there."""
    last = dict(last_stage())
    _, _, health = last["HEALTHCHECK"].partition("CMD ")
    name, *arguments = json.loads(health)
    assert name == "python"
    [env] = [rest for word, rest in last_stage() if word == "ENV"]
    port = re.search(r"DSM_METRICS_PORT=(\d+)", env)
    assert port
    faults = iter(["", "No database."])
    here = probes.serve("127.0.0.1", 0, {probes.READY_PATH: lambda: next(faults)})
    for expected, there in ((0, here), (1, here), (1, choose_port(0, 0))):
        command = [sys.executable, *(it.replace(f":{port[1]}/", f":{there}/") for it in arguments)]
        assert str(there) in command[-1]
        assert subprocess.run(command, check=False, capture_output=True).returncode == expected


def test_its_variables_are_settings() -> None:
    [env] = [rest for word, rest in last_stage() if word == "ENV"]
    held = dict(item.split("=", 1) for item in env.split(" "))
    process = assemble(("embedding",), {name: value for name, value in held.items() if name.startswith("DSM_")}).process
    [exposed] = [rest.split(" ") for word, rest in last_stage() if word == "EXPOSE"]
    assert [str(process.port), str(process.metrics_port)] == exposed


def test_versions_agree() -> None:
    version = PROJECT["version"]
    chart = read(CHART / "Chart.yaml")
    assert (chart["version"], chart["appVersion"]) == (version, version)
    assert ("ARG", f"VERSION={version}") in last_stage()
    assert {it["image"] for it in DSM.values()} == {f"dsm:{version}"}


def test_compose_runs_every_service_once() -> None:
    served = [it["command"][1] for it in DSM.values() if it["command"][0] == "serve"]
    assert sorted(served) == sorted(SERVICES)
    assert DSM["migrate"]["command"] == ["migrate"]
    for it in DSM.values():
        parse(it["command"])


@pytest.mark.parametrize("service", SERVICES)
def test_compose_gives_each_service_its_settings(service: str) -> None:
    held = DSM[service]["environment"]
    assert held.keys() >= {database_variable(name) for name in STATEFUL}
    assemble((service,), {name: value for name, value in held.items() if name.startswith("DSM_")})
    hosts = {host for value in held.values() for host in re.findall(r"([\w-]+):\d{4}", value)}
    assert hosts <= COMPOSE["services"].keys()


def test_compose_containers_are_restricted_and_on_the_loopback() -> None:
    for it in DSM.values():
        assert it["read_only"] is True
        assert it["cap_drop"] == ["ALL"]
        assert it["security_opt"] == ["no-new-privileges:true"]
    ports = [port for it in COMPOSE["services"].values() for port in it.get("ports", [])]
    assert len(ports) == len(set(ports)) == len(SERVICES)
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_compose_waits_for_what_can_be_waited_for() -> None:
    for it in COMPOSE["services"].values():
        for name, how in it.get("depends_on", {}).items():
            awaited = COMPOSE["services"][name]
            ends = name in DSM and awaited["command"][0] != "serve"
            assert how["condition"] == ("service_completed_successfully" if ends else "service_healthy")
            assert ends or "healthcheck" in awaited


def test_compose_names_files_and_volumes_that_exist() -> None:
    for it in COMPOSE["services"].values():
        for volume in it.get("volumes", []):
            source = volume.split(":")[0]
            assert (DEPLOY / source).is_file() if source.startswith(".") else source in COMPOSE["volumes"]
        if build := it.get("build"):
            assert (DEPLOY / build["context"] / build["dockerfile"]).resolve() == DOCKERFILE


def test_the_servers_are_those_of_the_evaluation() -> None:
    evaluation = read(CHART / "values.yaml")["evaluation"]
    assert COMPOSE["services"]["postgres"]["image"] == evaluation["postgresql"]["image"]
    assert COMPOSE["services"]["nats"]["image"] == evaluation["nats"]["image"]
    assert all(PINNED.search(it["image"]) for it in COMPOSE["services"].values())


def test_every_database_is_made() -> None:
    made = re.findall(r"^CREATE DATABASE (\w+);", (DEPLOY / "databases.sql").read_text(), re.MULTILINE)
    assert made == [f"dsm_{name}" for name in STATEFUL]


def test_nats_takes_its_configuration_and_syncs_what_it_acknowledges(tmp_path: Path) -> None:
    text = (CHART / "files" / "nats.conf").read_text()
    assert re.search(r"^  sync_interval: always$", text, re.MULTILINE)
    (tmp_path / "nats.conf").write_text(text.replace("/data", str(tmp_path)))
    server = Path(sys.executable).parent / "nats-server"
    subprocess.run([server, "--config", tmp_path / "nats.conf", "-t"], check=True, capture_output=True)
