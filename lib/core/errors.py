"""The exception whose messages are written for the user, and how commands tell it."""

import atexit
import gc
import sys
from functools import wraps


class StudyError(Exception):
    """An error that the user can fix: the message names the thing, what was found, what was expected and the remedy."""


def command(*errors):
    """Decorate a command's `main`, a function of its arguments (None: the command line's), to return the exit code.

    The code is 1 where a StudyError or one of `errors`, further classes of exceptions, ends it, which is told without a
    traceback; else it is what `main` returns, 0 for None.
    """

    def decorate(main):
        @wraps(main)
        def run(arguments=None):
            atexit.register(gc.freeze)  # at its end Python would look for garbage once more, for a third of a second
            if hasattr(sys.stdout, "reconfigure"):  # what is printed may have letters that the terminal lacks
                sys.stdout.reconfigure(errors="backslashreplace")
            try:
                return main(arguments) or 0
            except (StudyError, *errors) as error:
                print(f"error: {error}", file=sys.stderr)
                return 1

        return run

    return decorate
