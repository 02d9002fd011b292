"""The backlog service."""
