"""The one error of the command line."""


class CliError(Exception):
    """A command cannot do what was asked; the message is one sentence for people that says what to do."""
