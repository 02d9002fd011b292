"""The chronicle: keeps what happened, and computes from it. Nobody's work waits for it.

Tables: planning_note with planned_task; scrum_report with scrum_person and scrum_task; retrospective with
retrospective_task and action_item; sprint_outcome; decision_note; free_note; impediment.

Takes in from DSM_SPRINT: sprint.started, scrum.reported, sprint.closed, impediment.raised and .resolved; from
DSM_ORCHESTRATOR: decision.made. Publishes note.recorded and action_item.updated.
"""
