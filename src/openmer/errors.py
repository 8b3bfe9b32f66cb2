"""Errors that a user can fix. The command line prints them in one line, without a traceback."""


class OpenMERError(Exception):
    """Something the user can act on: the message says what was found, where, and what to do next."""


class InputError(OpenMERError):
    """The input (a file, a folder, a setting) cannot be used as it is."""


class OutputError(OpenMERError):
    """A result cannot be written where it was asked for."""
