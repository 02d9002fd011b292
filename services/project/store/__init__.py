"""Every query of the project service, by noun."""
