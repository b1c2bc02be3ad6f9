"""Killed and continued, each script ends as if nothing had happened, bit for bit."""

from __future__ import annotations

import math

import pytest

pytestmark = pytest.mark.torch


def numbers(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for item in value for number in numbers(item)]
    return [value] if isinstance(value, float) else []


def is_sound(result):
    """Losses that are finite and differ from each other: there was something to get wrong."""
    found = numbers(result)
    assert all(map(math.isfinite, found))
    assert len(set(found)) > 5


SHAPES = {
    "helpers": ["helpers.py"],
    "trainer": ["trainer.py"],
    "flat": ["flat.py"],
}


@pytest.mark.parametrize("script", SHAPES)
@pytest.mark.parametrize("hit", ["batch/2/SIGKILL", "batch/9/SIGKILL", "batch/15/SIGKILL"])
def test_killed_in_mid_epoch(desk, script, hit):
    name = desk.put(f"{script}.py")
    bare = desk.bare(name)
    is_sound(bare.result)
    with_plugin = desk.run(name)
    assert with_plugin.result == bare.result

    killed = desk.run("-o", f"striker.hit={hit}", "-o", "checkpoint.directory=ck", name)
    assert killed.status == -9
    resumed = desk.run("--resume", "-o", "checkpoint.directory=ck", name)

    assert resumed.status == 0
    assert resumed.result == bare.result
