"""PostgreSQL and NATS on one machine."""
