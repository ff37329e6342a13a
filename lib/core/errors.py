"""The one exception that a user is meant to read."""


class StudyError(Exception):
    """Something that a user can mend: the message names the thing, what was found, what was expected and the remedy."""
