"""Conditions on sample paths: what they say, and that nothing else is ever executed."""

from __future__ import annotations

import numpy as np
import pytest

from seqloom.core.errors import ConfigError
from seqloom.core.expression import meeting, of_rows

LOAD = np.array([[1.0, 2.0, 3.0], [5.0, 0.0, -1.0], [2.0, 2.0, np.nan]])
COLUMNS = {"load": LOAD, "price (EUR)": np.array([[1.0] * 3, [2.0] * 3, [3.0] * 3])}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("load > 2.5", [True, True, False]),
        ("all(load > 0.5)", [True, False, False]),
        ("any(load > 4)", [False, True, False]),
        ("load > 2.5 and load < 0", [False, False, False]),
        ("any(load > 2.5) and any(load < 0)", [False, True, False]),
        ("max(load) == 5 or first(load) == 2", [False, True, True]),
        ("last(load) < first(load)", [False, True, False]),
        ("1 <= min(load) <= 1", [True, False, False]),
        ("not load > 2.5", [True, True, True]),
        ("not any(load > 2.5)", [False, False, True]),
        ("mean(load) * 3 == sum(load)", [True, True, False]),
        ("'price (EUR)' >= 2", [False, True, True]),
        ("abs(-load + 1) / 2 > 1.5 - 0", [False, True, False]),
        ("1 < 2", [True, True, True]),
        ("1 / 0 > 5", [True, True, True]),
    ],
)
def test_paths_that_meet_a_condition(text: str, expected: list[bool]) -> None:
    assert meeting(text, COLUMNS).tolist() == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("laod > 1", "no column 'laod'"),
        ("load >", "is no condition"),
        ("load + 1", "is a number"),
        ("load and load > 1", "a comparison is wanted in place of 'load'"),
        ("(load > 1) > 1", "a number is wanted in place of"),
        ("__import__('os').system('true') > 1", "is not understood"),
        ("load.__class__ > 1", "is not understood"),
        ("[x for x in load] > 1", "is not understood"),
        ("load[0] > 1", "is not understood"),
        ("load ** 9 > 1", "is not understood"),
        ("(lambda: 1)() > 1", "is not understood"),
        ("load is 1", "is not understood"),
        ("max(load, 1) > 1", "is not understood"),
        ("True", "is not understood"),
        ("load > 1" + " and load > 1" * 60, "too long"),
        ("load > " + "(" * 230 + "1" + ")" * 230, "is no condition"),
        ("load > '1'", "no column '1'"),
        ("", "is no condition"),
    ],
)
def test_what_is_no_condition_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")) as caught:
        meeting(text, COLUMNS)
    assert caught.value.path == "--where"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("load > 2.5", True),
        ("not load > 2.5", True),
        ("load > 1 and sum(load) > 3", True),
        ("sum(load) > 3", False),
        ("all(load > 1) or last(load) > 2", False),
    ],
)
def test_conditions_of_rows_are_told_from_those_of_paths(text: str, expected: bool) -> None:
    assert of_rows(text, COLUMNS) is expected
