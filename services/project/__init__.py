"""The project service: projects, people, teams and calendars; the one source of capacity.

Tables: project, employee, team_member, company_day, pto, and the kit's outbox and request_record.

Events, all in DSM_PROJECT: dsm.project.v1.project.created and .updated, .team.changed, .holiday.added and .removed are
counted by the project's version; .employee.created, .updated and .erased, .pto.added and .cancelled by the employee's.
They name people by id alone. It consumes none and calls nobody.
"""
