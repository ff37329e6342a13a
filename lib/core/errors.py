"""The exception whose messages are written for the user."""


class StudyError(Exception):
    """Something that a user can mend: the message names the thing, what was found, what was expected and the remedy."""
