"""Action units as people write them: the right units and sides, or a reason."""

import datetime
from pathlib import Path

import pytest
from safetensors.numpy import load_file

import openmer
from openmer.facs import UNIT_NAMES, read_action_units
from openmer.simulator.facial_motion import ACTION_UNITS


@pytest.mark.parametrize(
    ("cell", "units"),
    [
        ("R4L12", ("R4", "L12")),
        ("R4+L12", ("R4", "L12")),
        ("R4AL12B", None),  # A may be the intensity or the side
        ("L4R7C", ("L4", "R7C")),
        ("12L", ("L12",)),
        ("12R+4", ("R12", "4")),
        ("12 (L)", ("L12",)),
        ("12 right, 4 left", ("R12", "L4")),
        ("left 12", ("L12",)),
        ("L/R 12", ("12",)),
        ("L/R12", ("12",)),
        ("L+R12", ("12",)),
        ("12L/R", ("12",)),
        ("bilateral AU12", ("12",)),
        ("B12", ("12",)),
        ("B28", ("B28",)),  # the bottom lip
        ("Unilateral 14", ("U14",)),
        ("AU12", ("12",)),
        ("AU4AU7", ("4", "7")),
        ("AU L12", ("L12",)),
        ("LAU12", ("L12",)),
        ("au12 + au25", ("12", "25")),
        ("AU01", ("1",)),
        ("ＡＵ１２＋４", ("12", "4")),
        ("Ｌ１２、４", ("L12", "4")),
        ("4&7", ("4", "7")),
        ("4 7", ("4", "7")),
        ("1+2\n5", ("1", "2", "5")),
        ("4-7", ("4?", "7?")),
        ("12?", ("12?",)),
        ("0", ()),
        ("12.0", ("12",)),
        ("blink", ()),
    ],
)
def test_units_and_sides(cell: str, units: tuple[str, ...] | None) -> None:
    read, reason = read_action_units(cell)
    if units is None:
        assert reason and not read
        return
    assert tuple(map(str, read)) == units and not reason
    assert read_action_units("+".join(units))[0] == read


@pytest.mark.parametrize("cell", [4.7, "4.7", 412, "15A17", "6or12", "M57", "R", "12th"])
def test_what_may_mean_several_things_is_not_read(cell: object) -> None:
    units, reason = read_action_units(cell)
    assert not units and ("write 4+7" in reason or "like R4+L12" in reason)


def test_a_date_is_no_unit_and_the_rest_of_a_cell_is_read() -> None:
    units, reason = read_action_units(datetime.datetime(2026, 4, 7))
    assert not units and "2026-04-07 is a date" in reason and "4+7" in reason
    units, reason = read_action_units("4+15A17+L12")
    assert tuple(map(str, units)) == ("4", "L12") and "'15A17'" in reason


@pytest.mark.parametrize("cell", ["4-Jul", "Jul-04", "7-Apr", "04. Jul", "4 mai", "Mär-04", "4月7日"])
def test_a_date_written_out_is_no_unit_either(cell: str) -> None:
    """As a spreadsheet program shows `4-7` in a table that it saves as text: not AU4 alone."""
    units, reason = read_action_units(cell)
    assert not units and "is a date" in reason


def test_a_mark_of_absence_is_no_unit_and_a_doubt_stays_one() -> None:
    units, reason = read_action_units("-1")
    assert not units and "below 0" in reason
    assert [str(u) for u in read_action_units("maybe 12 + R14 marked")[0]] == ["12?", "R14"]


def test_every_unit_that_is_simulated_or_explained_has_a_name() -> None:
    signatures = load_file(Path(openmer.__file__).parent / "explain" / "signatures.safetensors")
    assert {int(name.removeprefix("AU")) for name in signatures} | set(ACTION_UNITS) <= set(UNIT_NAMES)


@pytest.mark.parametrize(
    ("cell", "certain"),
    [
        ("4, no 7", (True, False)),
        ("4+not 7", (True, False)),
        ("4 without 7", (False, False)),
        ("12 vs 14", (False, False)),
        ("12+14 poss.", (True, False)),
        ("12\\14", (False, False)),
        ("4+?", (False,)),
        ("4+7", (True, True)),
    ],
)
def test_what_is_denied_or_doubted_is_not_certain(cell: str, certain: tuple[bool, ...]) -> None:
    units, unread = read_action_units(cell)
    assert not unread and tuple(u.certain for u in units) == certain
