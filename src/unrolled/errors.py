"""The two ways a command can end badly; every room may raise them, the command line prints them.

The message is one line that says what was expected, what came, and what to do.
"""


class BadInput(ValueError):
    """What the user gave can't be used: the command line prints the message and exits 2."""


class WorkFailed(RuntimeError):
    """The input was good and the work failed: the command line prints the message and exits 1."""


def printable(text: str) -> str:
    """The text without what a terminal would obey."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
