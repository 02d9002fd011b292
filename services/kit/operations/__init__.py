"""What operators ask of a process: status, dead letters, replay, reconciliation, recovery."""
