"""The sprint service."""
