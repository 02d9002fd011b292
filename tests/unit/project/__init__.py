"""The project service's rules."""
