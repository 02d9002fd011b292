"""DSM's services, the kit that they share, the command line and the machine-local stack."""
