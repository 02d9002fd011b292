"""Every query of the backlog's database, by noun."""
