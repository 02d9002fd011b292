"""What all services share, and nothing about any of them.

A request passes `server` (sockets, health) and `gate` (errors, validation, deadlines, request ids, metrics), then the
service's own handler, which talks to PostgreSQL through `database`, to other services through `callee` and to nobody
else. What a handler emits is committed with its state (`database`), published by `outbox`, and taken in elsewhere by
`inbox`. Flows over several services are `saga`s.
"""
