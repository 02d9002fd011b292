"""The sprint service: plans sprints, follows their progress, runs the daily scrum and closes them.

It owns a task's state, progress and assignee while the task is in an open sprint.

Tables: sprint; sprint_task (a task's course through one sprint; its last row has the task's version); progress_entry
(work reported); scope_change; daily_scrum; impediment; and the kit's, saga among them.
Publishes sprint.started, sprint.closed, sprint.abandoned, task.updated, scrum.reported, impediment.raised and
impediment.resolved. Follows the backlog's task.updated for title and points.
"""
