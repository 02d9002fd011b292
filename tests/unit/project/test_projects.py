"""Projects and people: updates, what is read-only, who is active."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.kit.errors import InvalidArgument
from services.project.domain.employee import check_skills, update_employee
from services.project.domain.project import ProjectArchived, ProjectStatus, check_writable, update_project
from tests.unit.project.projects import EMPLOYEE, LATER, NOW, PROJECT


def test_an_update_counts_only_what_really_changes() -> None:
    changed, fields = update_project(PROJECT, {"name": "Other", "time_zone": "UTC"}, LATER)
    assert fields == ["name"]
    assert (changed.name, changed.version, changed.update_time) == ("Other", 4, LATER)
    assert update_project(PROJECT, {"name": "Project"}, LATER) == (PROJECT, [])


def test_a_name_cannot_be_taken_away() -> None:
    with pytest.raises(InvalidArgument) as project:
        update_project(PROJECT, {"name": ""}, LATER)
    assert project.value.metadata["field"] == "project.name"
    with pytest.raises(InvalidArgument) as employee:
        update_employee(EMPLOYEE, {"name": ""}, LATER)
    assert employee.value.metadata["field"] == "employee.name"


@pytest.mark.parametrize("status", ProjectStatus)
def test_only_an_archived_project_is_read_only(status: ProjectStatus) -> None:
    project = replace(PROJECT, status=status)
    if status is ProjectStatus.ARCHIVED:
        with pytest.raises(ProjectArchived):
            check_writable(project)
    else:
        check_writable(project)


def test_who_is_inactive_is_so_since_the_first_time() -> None:
    inactive, fields = update_employee(EMPLOYEE, {"active": False}, NOW)
    assert (fields, inactive.active, inactive.inactive_time) == (["active"], False, NOW)
    still, fields = update_employee(inactive, {"active": False, "role": "Guest"}, LATER)
    assert (fields, still.inactive_time) == (["role"], NOW)
    again, _ = update_employee(still, {"active": True}, LATER)
    assert again.active
    assert again.version == 4


def test_skills_are_compared_without_case() -> None:
    assert check_skills(["Python", "SQL"]) == ("Python", "SQL")
    with pytest.raises(InvalidArgument) as failed:
        check_skills(["Python", "SQL", "PYTHON"])
    assert failed.value.metadata["field"] == "employee.skills[2]"
