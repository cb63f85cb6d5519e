"""The one exception that means "the user's input is wrong"."""


class InputError(ValueError):
    """Bad input, described in one line that says what is wrong and what to do.

    Command lines print it without a traceback and exit with status 2 (`fan_mm.cli`); every other
    exception is a bug and keeps its traceback.
    """
