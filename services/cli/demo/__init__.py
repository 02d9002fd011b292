"""`dsm demo`: a team's sprint from end to end, before your eyes.

`story` tells it chapter by chapter, `cast` says who the people are, `days` decides who gets what done on a day. All of
it goes through the public API, and everything that is printed was read from there.
"""

from services.cli.demo.command import register

__all__ = ["register"]
