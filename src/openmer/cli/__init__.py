"""The command line: one verb for each arrow. Signatures define the arguments, docstrings the help (tyro).

Each verb is a function in the module for its topic; slow imports are inside the functions, so that `--help` is fast.
"""

import difflib
import inspect
import os
import signal
import sys
from dataclasses import is_dataclass
from types import FrameType
from typing import get_type_hints

import tyro
from rich.console import Console
from rich.markup import escape

from openmer.cli.datasets import data, prepare, prepare_simulated, simulate
from openmer.cli.demo import demo
from openmer.cli.networks import bench, import_authors
from openmer.cli.options import joined
from openmer.cli.results import export, score
from openmer.cli.review import agree, figure, review, tune
from openmer.cli.training import loso, report, train
from openmer.cli.videos import analyze, explain, serve
from openmer.errors import InputError, OpenMERError
from openmer.version import __version__


def version() -> None:
    """Print the version."""
    print(__version__)


VERBS = (
    analyze,
    demo,
    explain,
    serve,
    review,
    agree,
    tune,
    figure,
    export,
    score,
    simulate,
    data,
    prepare,
    prepare_simulated,
    train,
    loso,
    report,
    bench,
    import_authors,
    version,
)


def _app(*, brief: bool) -> tyro.extras.SubcommandApp:
    """All verbs; in the overview, each with only the first line of its docstring."""
    app = tyro.extras.SubcommandApp()
    hints = [hint for verb in VERBS for hint in get_type_hints(verb).values() if isinstance(hint, type)]
    settings = {each for hint in hints for each in inspect.getmro(hint) if is_dataclass(each)}
    for described in (*VERBS, *settings):
        described.__doc__ = joined(described.__doc__ or "")
    for verb in VERBS:
        app.command(help=(verb.__doc__ or "").splitlines()[0] if brief else None)(verb)
    return app


def _terminated(number: int, frame: FrameType | None) -> None:
    """Exit through an exception, so that half-written results are cleaned up."""
    sys.exit(128 + number)


def _check_verb(given: list[str]) -> None:
    """Answer an unknown verb in one line."""
    verbs = [verb.__name__.replace("_", "-") for verb in VERBS]
    if given and not given[0].startswith("-") and given[0].replace("_", "-") not in verbs:
        near = difflib.get_close_matches(given[0], verbs, 1)
        perhaps = f"perhaps {near[0]}? " if near else ""
        raise InputError(f"there is no command {given[0]!r}; {perhaps}openmer --help lists them")


def main() -> None:
    """Run the command line; errors that a user can fix are shown in one line, without a traceback."""
    console = Console(stderr=True)
    signal.signal(signal.SIGTERM, _terminated)
    if sys.argv[1:] == ["--version"]:
        version()
        return
    try:
        _check_verb(sys.argv[1:2])
        app = _app(brief=sys.argv[1:2] in ([], ["-h"], ["--help"]))
        about = "Facial micro-expressions: from a raw video to a timeline."
        app.cli(prog="openmer", description=about, config=(tyro.conf.DisallowNone,))
        sys.stdout.flush()
    except BrokenPipeError:  # the reader (such as head) has closed the pipe; discard what is still buffered
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        reason = ("" if error.filename is None else f"{error.filename}: ") + (error.strerror or str(error))
        console.print(f"[bold red]error:[/] {escape(reason)}", highlight=False, soft_wrap=True)
        sys.exit(1)
    except OpenMERError as error:
        console.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        console.print("interrupted; what was there before is untouched")
        sys.exit(130)
