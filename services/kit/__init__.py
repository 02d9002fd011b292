"""What all services share, and nothing about any of them.

A request passes `server` (sockets, health) and `serving.gate` (errors, validation, deadlines, request ids, metrics),
then the service's own handler, which talks to PostgreSQL through `data.database`, to other services through
`calling.callee` and to nobody else. What a handler emits is committed with its state, published by `events.outbox`, and
taken in elsewhere by `events.inbox`. Flows over several services are `saga`s. A `service` is put together from these,
and `operations` is what its operators ask of it.
"""
