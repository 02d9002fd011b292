"""The benchmark of forecasts in small: it runs, cannot see the future, and made the product's coefficients."""

import csv
import dataclasses
import random
import sys
from pathlib import Path

import numpy as np
import pytest

from services.orchestrator.domain.forecast.coefficients import MULTIPLES, POOLED
from tests.bench import forecast as bench
from tests.bench.forecast_fit import LEVELS
from tests.bench.sprints_file import MOMENTS, Row, Sprint, read, replay

ROWS = 30


def records(seed: int = 1) -> list[dict[str, object]]:
    """Sprints of two made-up projects with the columns of the real file, whose teams deliver 0.7 of their plans."""
    random_ = random.Random(seed)
    made = []
    for project in ("ONE", "TWO"):
        last: list[int] = []
        for number in range(1, ROWS + 1):
            planned = random_.randint(10, 40)
            delivered = round(planned * random_.uniform(0.5, 0.9))
            record: dict[str, object] = {
                "project": project,
                "boardid": 7,
                "sprintid": number,
                "name": f"Rockets {number}",
                "planday": 14,
                "split": "train",
                "representative_row": 1,
                "delivered": delivered,
                "hist_delivered_mean3": sum(last[-3:]) / len(last[-3:]) if last else "",
                "LEAK_no_issue_ever_in_sprint": delivered * 2,
            }
            for moment in MOMENTS:
                done = delivered * moment // 100
                record |= {
                    f"committed_{moment}": planned,
                    f"vel_diff_{moment}": delivered - planned,
                    f"vel_done_{moment}": done,
                    f"vel_inprogress_{moment}": 2,
                    **{f"no_issue{state}_{moment}": 3 for state in ("todo", "inprogress", "done")},
                }
            made.append(record)
            last.append(delivered)
    return made


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def forecasts(path: Path, moment: int = 0) -> dict[tuple[str, int], float]:
    made = bench.predict(read(path), lambda row: True, POOLED, moment)
    return {(one.sprint.project, one.sprint.number): one.ours.median() for one in made}


def test_what_a_forecaster_sees_holds_nothing_of_the_end() -> None:
    names = {field.name for field in dataclasses.fields(Sprint)}
    assert not [name for name in names if "deliver" in name or "diff" in name or "ever" in name]
    assert {field.name for field in dataclasses.fields(Row)} - names >= {"delivered"}


@pytest.mark.parametrize("moment", bench.PREDICTED_MOMENTS)
def test_neither_its_own_end_nor_a_later_one_nor_a_leak_changes_a_forecast(tmp_path: Path, moment: int) -> None:
    before = forecasts(write(tmp_path / "before.csv", records()), moment)
    changed = records()
    for record in changed:
        if record["project"] == "ONE" and int(str(record["sprintid"])) >= 20:
            record |= {"delivered": 999, "LEAK_no_issue_ever_in_sprint": 999, "vel_diff_0": 999, "vel_diff_30": 999}
    after = forecasts(write(tmp_path / "after.csv", changed), moment)
    assert {key for key in before if before[key] != after[key]} == {("ONE", number) for number in range(21, ROWS + 1)}


def test_boards_of_one_sprint_do_not_tell_each_other(tmp_path: Path) -> None:
    twice = [{**record, "boardid": board} for record in records() for board in (7, 8)]
    groups = list(replay(read(write(tmp_path / "twice.csv", twice)), 0))
    assert len(groups) == 2 * ROWS
    assert all(len(sprints) == len(delivered) == 2 for sprints, delivered in groups)
    assert [sprints[0].number for sprints, _ in groups] == 2 * list(range(1, ROWS + 1))


def test_a_file_is_validated_and_another_predicted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    past = write(tmp_path / "past.csv", records())
    monkeypatch.setattr(sys, "argv", ["forecast", str(past)])
    bench.main()
    shown = capsys.readouterr().out
    assert "T = 0 %, by cut point" in shown
    assert "T = 30 %, by project, the last 20 % alone" in shown
    later = [record | {"sprintid": 100 + int(str(record["sprintid"])), "split": "test"} for record in records(2)]
    out = tmp_path / "out.csv"
    arguments = [str(past), "--predict", str(write(tmp_path / "later.csv", later)), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["forecast", *arguments])
    bench.main()
    assert "T = 30 %, later sprints" in capsys.readouterr().out
    with out.open(newline="", encoding="utf-8") as file:
        written = list(csv.DictReader(file))
    assert len(written) == 2 * 2 * ROWS
    assert all(float(row["q10"]) <= float(row["forecast"]) <= float(row["q90"]) for row in written)


def test_a_team_that_delivers_part_of_its_plan_is_learned(tmp_path: Path) -> None:
    rows = read(write(tmp_path / "past.csv", records()))
    spread = bench.spreads(rows, 0)
    found = bench.scores(bench.predict(rows, lambda row: row.seen[0].number > 10, POOLED, 0), spread)
    for part in found.values():
        assert part.mae["ours"] < part.mae["plan"]
        assert part.coverage[0.95] > 0.8


def test_without_the_file_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["forecast", "/nowhere/sprints.csv"])
    with pytest.raises(SystemExit) as ended:
        bench.main()
    assert "/nowhere/sprints.csv" in str(ended.value)


@pytest.mark.skipif(not bench.DEFAULT_FILE.is_file(), reason="the real sprints are not in ../shared/data")
def test_the_products_coefficients_are_those_of_the_real_sprints() -> None:
    rows = read(bench.DEFAULT_FILE)
    fitted = bench.learn_coefficients(rows)
    assert list(POOLED.levels) == list(LEVELS)
    for elapsed, coefficients in fitted.by_elapsed.items():
        assert POOLED.by_elapsed[elapsed] == pytest.approx(coefficients, abs=1e-3)
    assert list(MULTIPLES) == pytest.approx(bench.multiples(rows), abs=2e-3)
    assert np.isfinite(MULTIPLES).all()
