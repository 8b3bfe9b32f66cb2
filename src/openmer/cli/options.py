"""Options of the command line that are made from a settings class, so that no setting is written down twice."""

import inspect
import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, TypedDict, get_type_hints

import tyro


def joined(docstring: str) -> str:
    """Put each argument's description on one line; tyro would print its line breaks, and wraps lines itself."""
    return re.sub(r"\n {8,}(?=\S)", " ", inspect.cleandoc(docstring))


def options_of(bases: Mapping[str, Any], *without: str) -> Any:
    """The fields of settings classes as options that are left out of the result unless they are given.

    So the same options can change one or another of several instances, of one class or of several.

    Args:
        bases: the option that chooses an instance -> the instance; the first one needs no option. The help says the
            default of each; a field of several classes has the description of the first.
        without: fields that are no options.

    Returns:
        For an argument of type `dict[str, Any]`: what tyro needs to fill it.
    """
    kinds = list(dict.fromkeys(map(type, bases.values())))
    hints = {name: hint for kind in reversed(kinds) for name, hint in get_type_hints(kind).items()}
    names = [f.name for kind in kinds for f in fields(kind) if f.name not in without]

    def default(name: str) -> str:
        values = {option: getattr(base, name) for option, base in bases.items() if hasattr(base, name)}
        first, *others = values
        apart = [f"{_plain(values[o])} with {o}" for o in others if values[o] != values[first]]
        return f"(default: {', or '.join([_plain(values[first]), *apart])})"

    options = {n: Annotated[hints[n], tyro.conf.arg(help_behavior_hint=default(n))] for n in dict.fromkeys(names)}
    made = TypedDict("made", options, total=False)  # type: ignore[misc]
    described = [joined(kind.__doc__ or "").partition("Attributes:\n")[2] for kind in reversed(kinds)]
    made.__doc__ = "Options.\n\nAttributes:\n" + "\n".join(described)  # of a field's descriptions, the last counts
    return tyro.conf.arg(name="", constructor=made)


def _plain(value: Any) -> str:
    """As one would type it."""
    if value is None or value == ():
        return "none"
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
