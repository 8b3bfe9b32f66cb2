"""Errors that a user can fix. The command line prints them in one line, without a traceback."""

from collections.abc import Mapping
from pathlib import Path


class OpenMERError(Exception):
    """Something the user can act on: the message says what was found, where, and what to do next."""


class InputError(OpenMERError):
    """The input (a file, a folder, a setting) cannot be used as it is."""


class OutputError(OpenMERError):
    """A result cannot be written where it was asked for."""


def check_port(port: int) -> None:
    """Hold a port to be one; beyond 65535 some systems take the remainder.

    Raises:
        InputError: it is none.
    """
    if not 0 <= port <= 65535:
        raise InputError(f"--port must lie between 0 and 65535, got {port}")


def to_install(extra: str, *packages: str) -> str:
    """How to get what an extra brings, for a message; the package is on no index, so its name alone would not do."""
    return (
        f"install the extra `{extra}`: in the repository `pip install -c constraints.txt -e '.[{extra}]'`, elsewhere "
        f"`pip install {' '.join(packages)}`"
    )


def bare_names(message: str, names: Mapping[Path, str]) -> str:
    """The message with each of these paths, however it is written, replaced by its name: folders can name people."""
    forms = {
        form: name for path, name in names.items() for form in {str(path), str(path.absolute()), str(path.resolve())}
    }
    for form in sorted(forms, key=len, reverse=True):  # the longest first: one path can begin with another
        message = message.replace(form, forms[form])
    return message
