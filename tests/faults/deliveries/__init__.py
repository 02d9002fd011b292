"""Faults on the way of an event, each with what must hold afterwards.

Every function makes its fault in an arena and gives what is violated, in sentences; nothing is well. The tests want
nothing, the negative controls, whose arena has a protection broken, want something.
"""
