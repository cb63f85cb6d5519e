"""Errors as one line: the exception that means "the user's input is wrong", and those of libraries."""


class InputError(ValueError):
    """Bad input, described in one line that says what is wrong and what to do.

    Command lines print it without a traceback and exit with status 2 (`fan_mm.cli`); every other
    exception is a bug and keeps its traceback.
    """


def first_line(error: BaseException) -> str:
    """The first line of what an error of a library says; its type's name if that is nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
