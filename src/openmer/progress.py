"""One progress bar for everything that takes more than two seconds."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

# What is being done, how much of it is done, and the total (None if unknown).
ProgressCallback = Callable[[str, int, int | None], None]

WIDE = 110  # columns of a terminal
PLAIN_S = 30.0  # between lines if there is no terminal: in a file, a bar would show nothing until the end


class _Speed(ProgressColumn):
    """How much is done per second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        # At the end, that of the whole run; if steps come in bursts, the last seconds would be misleading.
        speed = (task.completed - task.fields["done"]) / task.finished_time if task.finished_time else task.speed
        if speed is None:
            return Text("")
        unit = self._unit
        if speed < 0.1 and unit.endswith("/s"):  # hours of video: a speed of 0.0 says nothing
            speed, unit = 60 * speed, unit.removesuffix("s") + "min"
        return Text(f"{speed:.0f} {unit}" if speed >= 10 else f"{speed:.1f} {unit}")


@contextmanager
def progress(
    console: Console,
    what: str,
    total: int | None,
    unit: str = "frames/s",
    *,
    done: int = 0,
    watch: ProgressCallback | None = None,
) -> Iterator[Callable[..., None]]:
    """Show a bar; yields the function to call after each step, or part of one, with a note to show after the bar.

    Without a terminal, as in a log, a plain line now and then reports the progress.

    Args:
        console: where to show it.
        what: what is being done.
        total: number of steps, or None if unknown.
        unit: unit of the speed.
        done: steps that an earlier run has done.
        watch: also called at every step, to show progress elsewhere than on a console.
    """
    roomy = console.width >= WIDE
    room = max(8, console.width - len(what) - (76 if roomy else 54))  # for the note, or it would squeeze the rest
    columns = (
        TextColumn(f"{what:<10}", markup=False),
        BarColumn(bar_width=40 if roomy else 16),
        MofNCompleteColumn(),
        _Speed(unit),
        TimeRemainingColumn(),
        TextColumn(
            "{task.fields[note]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis", max_width=room)
        ),
    )
    with Progress(*columns, console=console, speed_estimate_period=10) as bar:
        task = bar.add_task(what, total=total, completed=done, note="", done=done)
        plain, told = not (console.is_terminal or console.is_jupyter), time.monotonic()

        def step(note: str = "", amount: float = 1.0) -> None:
            nonlocal told
            bar.advance(task, amount)
            if note:
                bar.update(task, note=note)
            if plain and time.monotonic() - told >= PLAIN_S:
                told = time.monotonic()
                row = bar.tasks[0]
                of = "" if total is None else f"/{total}"
                console.print(
                    f"{what} {int(row.completed)}{of} {row.fields['note']}".rstrip(), highlight=False, markup=False
                )
            tell()

        def tell() -> None:
            if watch is not None:
                watch(what, int(bar.tasks[0].completed), total)

        tell()
        try:
            yield step
        except BaseException:
            if bar.tasks[0].completed == done:  # failed before anything was done: do not show an empty bar
                bar.update(task, visible=False)
            raise
        bar.update(task, total=bar.tasks[0].completed)
