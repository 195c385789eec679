"""The output of the stack's commands."""


def say(line: str = "") -> None:
    """Print a line at once, also into a pipe."""
    print(line, flush=True)  # noqa: T201 - the one place that prints
