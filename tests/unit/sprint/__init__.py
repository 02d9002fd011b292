"""The sprint service's rules."""
