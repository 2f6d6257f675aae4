"""The error of this package: a data set that cannot be had, read or understood."""


class TaskError(ValueError):
    """Says which data set or file (and line), what was wrong there, and what to do."""
