"""Rows of `employee`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.rows import kwargs_row

from services.kit.data.database import Params, ReadHandle, WriteHandle
from services.project.domain.employee import Employee, EmployeeNotFound, skill_key

COLUMNS = """
    employee.employee_id, employee.name, employee.email, employee.role, employee.designation, employee.skills,
    employee.hours_per_day, employee.inactive_time, employee.identity_subject, employee.time_zone, employee.version,
    employee.create_time, employee.update_time, employee.erase_time
"""
_FIND = f"SELECT {COLUMNS} FROM employee WHERE employee_id = %(employee_id)s"
# In the order of their ids, so that two transactions that lock the same people never wait for each other crosswise.
_LOCK = f"""
    SELECT {COLUMNS} FROM employee WHERE employee_id = ANY(%(employee_ids)s)
    ORDER BY employee_id FOR NO KEY UPDATE
"""
_LIST = f"SELECT {COLUMNS} FROM employee WHERE employee_id > %(after)s"
_IN_ORDER = " ORDER BY employee_id LIMIT %(limit)s"
_ON_TEAM = " AND employee_id IN (SELECT employee_id FROM team_member WHERE project_id = %(project_id)s)"
_WITH_SKILL = " AND skill_keys @> ARRAY[%(skill_key)s::text]"
_ACTIVE = " AND inactive_time IS NULL"
_INACTIVE = " AND inactive_time IS NOT NULL"
_INSERT = """
    INSERT INTO employee (employee_id, name, email, role, designation, skills, skill_keys, hours_per_day,
                          inactive_time, identity_subject, time_zone, version, create_time, update_time)
    VALUES (%(employee_id)s, %(name)s, %(email)s, %(role)s, %(designation)s, %(skills)s, %(skill_keys)s,
            %(hours_per_day)s, %(inactive_time)s, %(identity_subject)s, %(time_zone)s, %(version)s, %(create_time)s,
            %(update_time)s)
    ON CONFLICT (employee_id) DO NOTHING
"""
_UPDATE = """
    UPDATE employee
    SET name = %(name)s, email = %(email)s, role = %(role)s, designation = %(designation)s, skills = %(skills)s,
        skill_keys = %(skill_keys)s, hours_per_day = %(hours_per_day)s, inactive_time = %(inactive_time)s,
        identity_subject = %(identity_subject)s, time_zone = %(time_zone)s, version = %(version)s,
        update_time = %(update_time)s, erase_time = %(erase_time)s
    WHERE employee_id = %(employee_id)s
"""


@dataclass(frozen=True)
class Filter:
    """Which people: on a project's team, with a skill, active or not; empty and None = all."""

    project_id: str = ""
    skill: str = ""
    active: bool | None = None


async def get(read: ReadHandle, employee_id: str) -> Employee:
    """The person, or EmployeeNotFound."""
    found = await read.maybe(_FIND, {"employee_id": employee_id}, row=kwargs_row(employee_of))
    if found is None:
        raise EmployeeNotFound(employee_id)
    return found


async def lock(tx: WriteHandle, employee_id: str) -> Employee:
    """The person, whom nobody else changes until this transaction ends; or EmployeeNotFound."""
    found = await lock_all(tx, [employee_id])
    if not found:
        raise EmployeeNotFound(employee_id)
    return found[employee_id]


async def lock_all(tx: WriteHandle, employee_ids: Sequence[str]) -> dict[str, Employee]:
    """Those of the people who exist, by id; nobody else changes them until this transaction ends."""
    found = await tx.all(_LOCK, {"employee_ids": list(employee_ids)}, row=kwargs_row(employee_of))
    return {employee.employee_id: employee for employee in found}


async def list_after(read: ReadHandle, after: str, limit: int, wanted: Filter) -> list[Employee]:
    """People by id, those after an id, whom a filter lets through."""
    sql = _LIST
    if wanted.project_id:
        sql += _ON_TEAM
    if wanted.skill:
        sql += _WITH_SKILL
    if wanted.active is not None:
        sql += _ACTIVE if wanted.active else _INACTIVE
    params = {
        "after": after,
        "limit": limit,
        "project_id": wanted.project_id,
        "skill_key": skill_key(wanted.skill),
    }
    return await read.all(sql + _IN_ORDER, params, row=kwargs_row(employee_of))


async def insert(tx: WriteHandle, employee: Employee) -> bool:
    """False if the id is taken."""
    return bool(await tx.execute(_INSERT, _params(employee)))


async def update(tx: WriteHandle, employee: Employee) -> None:
    """Write a person whom this transaction has locked."""
    await tx.execute(_UPDATE, _params(employee))


def employee_of(*, skills: list[str], **columns: Any) -> Employee:
    """The person of COLUMNS."""
    return Employee(skills=tuple(skills), **columns)


def _params(employee: Employee) -> Params:
    return {
        "employee_id": employee.employee_id,
        "name": employee.name,
        "email": employee.email,
        "role": employee.role,
        "designation": employee.designation,
        "skills": list(employee.skills),
        "skill_keys": [skill_key(skill) for skill in employee.skills],
        "hours_per_day": employee.hours_per_day,
        "inactive_time": employee.inactive_time,
        "identity_subject": employee.identity_subject,
        "time_zone": employee.time_zone,
        "version": employee.version,
        "create_time": employee.create_time,
        "update_time": employee.update_time,
        "erase_time": employee.erase_time,
    }
