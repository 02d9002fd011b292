"""The project service."""
