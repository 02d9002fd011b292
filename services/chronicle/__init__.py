"""The chronicle: keeps what happened, and computes from it. Nobody's work waits for it.

Tables: planning_note with planned_task; scrum_report with scrum_person and scrum_task; retrospective with
retrospective_task and action_item; sprint_outcome; decision_note; free_note; impediment; project_figures and
known_sprint (sums, kept with what they count); backlog_title and project_topic (what a backlog is about);
erased_person.

Takes in from DSM_SPRINT: sprint.started, scrum.reported, sprint.closed, impediment.raised and .resolved; from
DSM_ORCHESTRATOR: decision.made; from DSM_BACKLOG: task.created, .updated and .deleted; from DSM_PROJECT:
employee.erased. Publishes note.recorded and action_item.updated. Calls the embedding service, in the background.
"""
