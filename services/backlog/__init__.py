"""The backlog service: every task's content always, and its course (state, assignee, progress) outside open sprints.

Tables: task, story, story_task (which tasks a story groups), project_counter (the last task and story number and rank
of a project), project_state (what is known of projects), reservation and reserved_task (what a sprint took), and
backlog_count (tasks and points by project and state, kept by triggers on task).

Publishes dsm.backlog.v1: task.created, task.updated, task.completed, task.deleted, story.created, story.updated,
story.deleted. Consumes dsm.sprint.v1: sprint.started, sprint.closed, sprint.abandoned, task.updated; and
dsm.project.v1: project.created, project.updated.

Locks are taken in this order everywhere, so that nothing waits in a circle: project_counter, reservation, tasks by
project and rank, then backlog_count by project and state (which the triggers do).
"""
