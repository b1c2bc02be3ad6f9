"""Tables of plain values are looked through and copied without a call for each of their values."""

from __future__ import annotations

import copy
import enum
import gc
import re
import sys

import pytest

pytest.importorskip("torch")

import torch

from hookcore.plain.resume.flat import copy_tables, is_flat, is_table
from hookcore.snapshot import encodable

pytestmark = pytest.mark.torch


class Kind(int, enum.Enum):
    ONE = 1


TABLES = [
    None, True, 3, 2**80, 0.5, float("nan"), 1j, "text", "\ud800", b"bytes", [], (), {}, set(),
    [1, "two", None], (1, 2.0), {"a": 1, 2: "b", None: 3}, {1, 2}, frozenset({"a"}),
    [(1, "a"), (2, "b")], {"a": (1, 2), "b": (3, 4)}, [{"x": 1}, {"x": 2, 3: None}], [[1], [], [2]],
]  # fmt: skip
OTHERS = [
    Kind.ONE, [Kind.ONE], torch.ones(1), [torch.ones(1)], {"a": [1]}, {(1, 2): 3}, [[[1]]],
    [{"x": [1]}], [{1: 2}, [1]], [object()], range(3), type("MyList", (list,), {})([1]),
    [((1,),)], [{"x": torch.ones(1)}], [{}] * 2,
]  # fmt: skip


@pytest.mark.parametrize("value", TABLES, ids=repr)
def test_a_table_can_be_saved_and_its_copy_is_whole(value):
    """As ``copy.deepcopy`` makes it."""
    assert is_table(value)
    assert encodable(value) is None
    made = copy_tables([value])[id(value)]
    assert repr(made) == repr(copy.deepcopy(value))
    if isinstance(value, (list, dict, set)):
        assert made is not value
    if value and isinstance(value, list) and isinstance(value[0], (list, dict)):
        assert made[0] is not value[0]
        assert not is_flat(value)


@pytest.mark.parametrize("value", OTHERS, ids=lambda value: re.sub(r" at 0x\w+", "", repr(value)))
def test_all_else_is_walked_through(value):
    """Subclasses, tensors, what is nested deeper, rows that are one object."""
    assert not is_table(value)


def test_what_is_one_object_stays_one():
    """Rows of two tables, and a table at two paths."""
    rows = [{"x": n} for n in range(4)]
    some, plain = rows[1:3], [1, 2]
    memo = copy_tables([rows, some, plain, plain])
    made, part, numbers = (memo[id(table)] for table in (rows, some, plain))
    assert part[0] is made[1]
    assert part[1] is made[2]
    assert copy.deepcopy({"numbers": plain, "row": rows[0]}, memo) == {
        "numbers": numbers, "row": made[0]
    }  # fmt: skip


@pytest.mark.parametrize("rows", [
    list(range(1000)), [str(n) for n in range(1000)], [(n, "x") for n in range(1000)],
    [{"x": n} for n in range(1000)], {n: str(n) for n in range(1000)},
], ids=["numbers", "texts", "tuples", "dicts", "dict"])  # fmt: skip
def test_the_number_of_rows_calls_nothing(rows):
    """A thousand rows are as many calls as three."""

    def calls(table):
        seen = []
        gc.disable()  # whose callbacks are calls, too
        sys.setprofile(lambda _frame, event, _argument: seen.append(event))
        try:
            copy_tables([table] if is_table(table) else [])
        finally:
            sys.setprofile(None)
            gc.enable()
        return sum(event in ("call", "c_call") for event in seen)

    few = rows[:3] if isinstance(rows, list) else dict(list(rows.items())[:3])
    assert calls(rows) == calls(few)
