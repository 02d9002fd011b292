"""The `dsm` command: runs DSM on one machine and talks to a running one from the terminal.

`main` puts the commands together. `registry` is the only place that knows the services' own `main`s. Commands that
talk to a running DSM use `client` alone, so they work from afar as well.
"""
