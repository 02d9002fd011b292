"""The chronicle service."""
