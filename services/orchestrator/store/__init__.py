"""Every table and query of the orchestrator, by noun."""
