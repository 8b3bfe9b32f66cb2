"""One progress bar for everything that takes more than two seconds."""

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
from rich.text import Text


class _Speed(ProgressColumn):
    """How much is done in a second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        # At the end the whole run's; steps that come in bursts would give a last second's fancy.
        speed = task.completed / task.finished_time if task.finished_time else task.speed
        return Text(
            "" if speed is None else f"{speed:.0f} {self._unit}" if speed >= 10 else f"{speed:.1f} {self._unit}"
        )


@contextmanager
def progress(console: Console, what: str, total: int | None, unit: str = "frames/s") -> Iterator[Callable[[], None]]:
    """Show a bar; yields the function to call after each step.

    Args:
        console: where.
        what: is being done.
        total: number of steps, or None where nobody knows.
        unit: of the speed.
    """
    columns = (
        TextColumn(f"{what:<10}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Speed(unit),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, speed_estimate_period=10) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)
        bar.update(task, total=bar.tasks[0].completed)
