"""The exception whose messages are written for the user."""


class StudyError(Exception):
    """An error that the user can fix: the message names the thing, what was found, what was expected and the remedy."""
