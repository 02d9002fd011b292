"""Every query of the sprint service, by noun."""
