"""The backlog service's rules."""
