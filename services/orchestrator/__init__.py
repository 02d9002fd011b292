"""The orchestrator: looks at a project, decides what its next sprint should be, does it, and remembers.

A call of Orchestrate runs down `pipeline`: observe (`observe`), decide by the rules, recall like situations (`memory`),
propose, gate, decide finally (`domain`), store, act (`act`). The decision is stored before anything is done.
Tables: decision, episode (with its vector), decision_mode, orchestration_lease, and the kit's.
Publishes decision.made, episode.recorded and decision_mode.changed; consumes sprint.closed, which brings the outcomes.
"""
