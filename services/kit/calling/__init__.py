"""Calls to other services: channels, deadlines, repeats, circuit breakers."""
