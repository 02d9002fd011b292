"""The orchestrator: looks at a project, decides what its next sprint should be, does it, and remembers.

A call of Orchestrate runs down `pipeline`: observe (`observe`), decide by the rules, recall like situations (`memory`),
propose, gate, decide finally (`domain`), store, act (`act`). The decision is stored before anything is done. When its
sprint closes the outcome is remembered, and from time to time strategies are learned from that (`learning`).
`forecasting` says how far a sprint and a team get, and keeps what it said to be judged by what came of it.
Schedules follow from what projects want and which sprints are open (`store.schedules`); `keeper` holds what is due,
`cluster` keeps CronJobs of Kubernetes instead, and `advisor` has decisions reviewed afterwards.
Tables: decision, episode (with its vector), strategy, evolution, forecast, closed_sprint, decision_mode,
orchestration_lease, daily_scrum_schedule, tracked_sprint, cron_job, orchestration_schedule, turn, and the kit's.
Publishes decision.made, episode.recorded, strategy.evolved, decision_mode.changed and changes of schedules; consumes
the sprints' starting, being abandoned, and closing, which brings the outcomes, and the projects' changing, for the
time zones of schedules.
"""
