"""Events by NATS JetStream: the streams, the relay that publishes, the consumers that apply, and what waits."""
