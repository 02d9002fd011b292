"""DSM's services, the kit that they share, the command line and the machine-local stack."""

import os

# gRPC's fork handlers would run in each child between fork and exec, where its other threads are gone: children that
# PostgreSQL and NATS should have become were seen to hang there. Nothing of ours uses gRPC after a fork.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
