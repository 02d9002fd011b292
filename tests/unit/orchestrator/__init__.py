"""The orchestrator's rules."""
