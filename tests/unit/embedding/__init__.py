"""The embedding service's rules."""
