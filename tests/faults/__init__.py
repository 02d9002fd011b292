"""Faults: DSM is broken from outside while clients use it, and must be whole again afterwards.

`machine` runs DSM as `dsm up --processes` does, with every byte synced; `faults` breaks it; `proxy` stands between two
parts of it; `load` are clients that ask while it breaks; `history` keeps what they were told; `invariants` waits until
everything is quiet and holds the history against databases and streams; `soak` does all that for long.
"""
