"""Whatever is shipped keeps what it acknowledges: JetStream syncs always, PostgreSQL as it does by default."""

import re
from pathlib import Path

import yaml  # type: ignore[import-untyped]

_ROOT = Path(__file__).parents[2]
_NATS_CONF = "helm/dsm/files/nats.conf"


def test_the_servers_of_compose_file_and_chart_sync_what_they_acknowledge() -> None:
    assert re.search(r"^  sync_interval: always$", (_ROOT / _NATS_CONF).read_text(), re.MULTILINE)
    nats = yaml.safe_load((_ROOT / "deploy/compose.yaml").read_text())["services"]["nats"]
    [place] = [volume.split(":")[1] for volume in nats["volumes"] if volume.startswith(f"../{_NATS_CONF}:")]
    assert nats["command"] == ["--config", place]
    assert '.Files.Get "files/nats.conf"' in _texts("helm/dsm/templates")


def test_who_brings_a_nats_is_told_to_have_it_sync() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (_ROOT / "docs/installing-on-kubernetes.md").read_text(), re.DOTALL)
    [values] = [found for block in blocks if "jetstream" in (found := yaml.safe_load(block)).get("config", {})]
    assert values["config"]["jetstream"]["merge"]["sync_interval"] == "always"
    assert "config.jetstream.merge.sync_interval" in (_ROOT / "helm/dsm/templates/NOTES.txt").read_text()


def test_nothing_that_is_shipped_does_without() -> None:
    # What `dsm up` starts syncs by default, see local/test_stack.py; `dsm doctor` tries servers out and deletes them.
    sparing = {path.name for path in (_ROOT / "services").rglob("*.py") if "durable=False)" in path.read_text()}
    assert sparing == {"doctor.py"}
    assert not re.search(r"fsync|full_page_writes|synchronous_commit", _texts("deploy") + _texts("helm"))


def _texts(folder: str) -> str:
    return "\n".join(path.read_text() for path in sorted((_ROOT / folder).rglob("*")) if path.is_file())
