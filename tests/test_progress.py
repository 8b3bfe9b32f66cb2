"""A bar on a terminal; in a log a line now and then."""

import io

import pytest
from rich.console import Console

from openmer import progress as module
from openmer.progress import progress


def said(monkeypatch: pytest.MonkeyPatch, seconds: list[float], *, terminal: bool) -> list[str]:
    """The plain lines of three steps at these moments of a clock that begins at 0."""
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    out = io.StringIO()
    with progress(Console(file=out, force_terminal=terminal, width=200), "Training", 3, "steps/s") as step:
        for k, now[0] in enumerate(seconds):
            step(f"loss {k}")
    return [
        line.strip() for line in out.getvalue().splitlines() if line.startswith("Training ") and "steps/s" not in line
    ]


def test_a_log_gets_a_line_every_half_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(monkeypatch, [10.0, 31.0, 45.0], terminal=False) == ["Training 2/3 loss 1"]
    assert said(monkeypatch, [30.0, 59.0, 60.0], terminal=False) == ["Training 1/3 loss 0", "Training 3/3 loss 2"]


def test_a_terminal_gets_the_bar_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(monkeypatch, [10.0, 31.0, 45.0], terminal=True) == []


@pytest.mark.parametrize(("steps", "shown"), [(0, False), (1, True)])
def test_what_is_refused_before_anything_is_done_leaves_no_bar(steps: int, shown: bool) -> None:
    out = io.StringIO()
    with (
        pytest.raises(ValueError, match="no"),
        progress(Console(file=out, width=100), "Folds", 3, "folds/s", done=0) as step,
    ):
        for _ in range(steps):
            step()
        raise ValueError("no")
    assert ("Folds" in out.getvalue()) == shown


@pytest.mark.parametrize("terminal", [True, False])
def test_names_are_no_markup(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    out = io.StringIO()
    with progress(Console(file=out, force_terminal=terminal, width=200), "Folds [/b]", 1, "folds/s") as step:
        now[0] = 60.0
        step("subject x[/b]")
    assert "Folds [/b]" in out.getvalue() and "subject x[/b]" in out.getvalue()
