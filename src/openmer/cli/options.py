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
    """The fields of a settings class as options that are left out of the result unless they are given.

    So the same options can change one or another of several instances of the class.

    Args:
        bases: the option that chooses an instance -> the instance; the first one needs no option. The help says the
            default of each.
        without: fields that are no options.

    Returns:
        For an argument of type `dict[str, Any]`: what tyro needs to fill it.
    """
    first, *others = bases
    kind = type(bases[first])
    hints = get_type_hints(kind)

    def default(name: str) -> str:
        values = {option: getattr(base, name) for option, base in bases.items()}
        apart = [f"{_plain(values[o])} with {o}" for o in others if values[o] != values[first]]
        return f"(default: {', or '.join([_plain(values[first]), *apart])})"

    options = {
        f.name: Annotated[hints[f.name], tyro.conf.arg(help_behavior_hint=default(f.name))]
        for f in fields(kind)
        if f.name not in without
    }
    made = TypedDict("made", options, total=False)  # type: ignore[misc]
    made.__doc__ = joined(kind.__doc__ or "")
    return tyro.conf.arg(name="", constructor=made)


def _plain(value: Any) -> str:
    """As one would type it."""
    if value is None or value == ():
        return "none"
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
