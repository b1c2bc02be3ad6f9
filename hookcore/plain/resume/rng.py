"""Every random stream of the process: taken as it stands, and put back."""

from __future__ import annotations

import ctypes
import pickle
import random
import sys
from collections.abc import Mapping
from typing import Any

import torch

_MT19937 = (624 + 1) * 4
"""Bytes of NumPy's usual generator: its numbers, and the place among them."""


def take() -> dict[str, Any]:
    """States of Python's, NumPy's and torch's generators, those of live devices included.

    Draws nothing.
    """
    states: dict[str, Any] = {"python": random.getstate(), "torch": torch.get_rng_state()}
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        states["numpy"] = numpy.random.get_state()
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        states["cuda"] = torch.cuda.get_rng_state_all()
    mps = getattr(torch, "mps", None)
    if mps is not None and torch.backends.mps.is_available():
        states["mps"] = mps.get_rng_state()
    return states


def put(states: Mapping[str, Any]) -> None:
    """Put the states back; the last thing a restore does."""
    random.setstate(states["python"])
    torch.set_rng_state(states["torch"])
    numpy = sys.modules.get("numpy")
    if "numpy" in states and numpy is not None:
        numpy.random.set_state(states["numpy"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"])
    if "mps" in states:
        torch.mps.set_rng_state(states["mps"])


def mark() -> tuple[Any, ...]:
    """What is another once anything was drawn from Python's, torch's or NumPy's generators.

    Ten times cheaper than :func:`take`, for it is asked for in each batch. A normal number that
    NumPy had drawn before, and kept, is not seen to be taken; the next one is.
    """
    return random.getstate(), torch.get_rng_state(), _numpy_mark()


def same(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Whether nothing was drawn between two marks."""
    return one[0] == other[0] and torch.equal(one[1], other[1]) and bool(one[2] == other[2])


def _numpy_mark() -> Any:
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return None
    generator: Any = getattr(numpy.random, "get_bit_generator", lambda: None)()
    if type(generator).__name__ == "MT19937":  # what it is unless somebody has put in another
        return ctypes.string_at(generator.ctypes.state_address, _MT19937)
    return pickle.dumps(numpy.random.get_state(legacy=False))


def take_generator(generator: Any) -> Any:
    """State of an explicit generator of torch, NumPy or Python; plain values and tensors."""
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    if isinstance(generator, random.Random):
        return generator.getstate()
    if _is_legacy(generator):
        return generator.get_state(legacy=False)
    return generator.bit_generator.state


def plain_state(generator: Any) -> Any:
    """The same without tensors and arrays: it can be compared, and is sent between processes."""
    if isinstance(generator, torch.Generator):
        return bytes_of(generator.get_state())
    return _plain(take_generator(generator))


def put_plain_state(generator: Any, state: Any) -> None:
    """Put that state back, in place."""
    if isinstance(generator, torch.Generator):
        generator.set_state(torch.frombuffer(bytearray(state), dtype=torch.uint8))
    else:
        put_generator(generator, _unplain(state))


def _plain(state: Any) -> Any:
    if isinstance(state, dict):
        return {name: _plain(part) for name, part in state.items()}
    kind = getattr(state, "dtype", None)
    return state if kind is None else {"array": state.tobytes(), "type": str(kind)}


def _unplain(state: Any) -> Any:
    if not isinstance(state, dict):
        return state
    if state.keys() == {"array", "type"}:
        return sys.modules["numpy"].frombuffer(state["array"], state["type"])
    return {name: _unplain(part) for name, part in state.items()}


def put_generator(generator: Any, state: Any) -> None:
    """Put an explicit generator's state back, in place."""
    if isinstance(generator, torch.Generator):
        generator.set_state(state)
    elif isinstance(generator, random.Random):
        generator.setstate(state)
    elif _is_legacy(generator):
        generator.set_state(state)
    else:
        generator.bit_generator.state = state


def bytes_of(state: torch.Tensor) -> bytes:
    """A state of torch's as bytes."""
    if "numpy" in sys.modules:
        return state.numpy().tobytes()
    return bytes(state.tolist())


def is_generator(value: Any) -> bool:
    """Whether it is an explicit random generator whose state can be taken."""
    if isinstance(value, torch.Generator):
        return True
    if isinstance(value, random.Random):  # not the system's, which has no state
        return type(value).getstate is random.Random.getstate
    numpy = sys.modules.get("numpy")
    return numpy is not None and (isinstance(value, numpy.random.Generator) or _is_legacy(value))


def _is_legacy(value: Any) -> bool:
    """Whether it is NumPy's old kind of generator."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.random.RandomState)
