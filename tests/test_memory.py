from collections.abc import Iterator

import pytest

from openmer import memory


def test_items_pass_and_memory_is_given_back_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[object] = []
    monkeypatch.setattr(memory, "give_back", lambda: happened.append("given back"))
    for item in memory.given_back("abcde", every=2):
        happened.append(item)  # noqa: PERF402  (what is between is of interest)
    assert happened == ["a", "b", "given back", "c", "d", "given back", "e", "given back"]


def test_whoever_stops_early_closes_the_source() -> None:
    closed: list[bool] = []

    def source() -> Iterator[int]:
        try:
            yield from range(5)
        finally:
            closed.append(True)

    items = memory.given_back(source())
    assert next(items) == 0
    items.close()  # type: ignore[attr-defined]
    assert closed == [True]


def test_giving_back_works_or_does_nothing() -> None:
    memory.give_back()
