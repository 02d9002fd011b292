"""The machine-local stack: a real PostgreSQL and a real nats-server, started from Python packages.

`dsm up`, the tests and the benchmarks share it. It knows nothing of the services and imports no other package of the
project. `stack.running` starts both servers under the folder's lock; `postgres.Postgres` and `nats.NatsServer` start
one of them; `folder` holds the lock and the state file; every failure is an `errors.StackError`.
"""
