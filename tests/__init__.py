"""Tests against real PostgreSQL, real NATS and real gRPC."""
