"""The sprint service: plans sprints, follows their progress, runs the daily scrum and closes them.

It owns a task's state, progress and assignee while the task is in an open sprint.

Tables: sprint; sprint_task (a task's course through one sprint; its last row has the task's version); progress_entry
(work reported); reported_progress (reports that came as events, with what became of them); scope_change; daily_scrum;
impediment; project_state and backlog_task (what it follows of others); and the kit's, saga among them.
Publishes sprint.started, sprint.closed, sprint.abandoned, task.updated, scrum.reported, impediment.raised and
impediment.resolved. Takes in task.progressed from outside, and follows the backlog's task.updated for title and points
and the projects' project.created and project.updated for their status.
"""
