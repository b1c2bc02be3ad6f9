"""Places that hold values: in containers, objects, loaders, functions and classes."""

from __future__ import annotations

import argparse
import array
import collections
import contextvars
import enum
import functools
import queue
import types
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

import attrs
import torch
from torch.utils.data import DataLoader

from hookcore.plain import table
from hookcore.plain.resume import rng
from hookcore.plain.resume.paths import Known, spelled

BY_KEY = (dict, weakref.WeakKeyDictionary)
"""What holds its items by keys that may be anything."""
_HOOKS = (
    "_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks",
    "_post_accumulate_grad_hooks", "_optimizer_step_pre_hooks", "_optimizer_step_post_hooks",
    "lr_lambdas",
)  # fmt: skip
KEEPS_RESULTS = type(functools.lru_cache(len))
"""What ``functools.lru_cache`` makes of a function."""
DEFINED = (types.FunctionType, type, KEEPS_RESULTS)
"""What a ``def`` or a ``class`` makes, with and without torch's or the library's decorators."""


@attrs.frozen(eq=False)
class Slot:
    """A place that holds a value, and how to put another one there.

    Attributes:
        path: Its name: ``history``, ``self.best``, ``train:best_acc``.
        value: What it holds.
        put: Binds another value there; None where that is left to the frame's own code.
    """

    path: str
    value: Any
    put: Callable[[Any], None] | None


def of_user(kind: type) -> bool:
    """Whether a class comes from a file that was rewritten: the user's own."""
    return table.is_module_rewritten(kind.__module__)


def has_parts(kind: type) -> bool:
    """Whether :func:`parts_of` finds any in objects of a type."""
    holds = issubclass(kind, (*_HOLDERS, *BY_KEY))
    return holds or _is_shared(kind) or of_user(kind)


def parts_of(path: str, value: Any, known: Known) -> Iterator[Slot]:
    """Places inside a value that is neither plain nor has a state of its own.

    Args:
        path: Where it stands.
        value: The value.
        known: Tells where an object, which may be a key, was found.
    """
    take = next((take for kind, take in _INSIDE.items() if isinstance(value, kind)), None)
    if take is not None:
        yield from take(path, value)
    elif isinstance(value, BY_KEY):
        yield from _entries(path, value, known)
    elif _is_shared(type(value)):
        yield from _in_shared_memory(path, value)
    if take is not attributes and of_user(type(value)):
        yield from attributes(path, value)


def behind(path: str, value: Any) -> Iterator[Slot]:
    """What a function can reach without being given it: cells, defaults, or what it is around."""
    code = getattr(value, "__code__", None)
    if code is None or not table.is_rewritten(code.co_filename):
        wrapped = getattr(value, "__wrapped__", None)  # what a library's decorator is around
        if wrapped is not None and not isinstance(value, type):
            yield Slot(f"{path}.__wrapped__", wrapped, cannot)
        return
    for cell, name in zip(value.__closure__ or (), code.co_freevars, strict=True):
        if filled(cell):
            put = functools.partial(setattr, cell, "cell_contents")
            yield Slot(f"{path}.{name}", cell.cell_contents, put)
    for name, item in _defaults(value, code):
        if not isinstance(item, (types.FunctionType, type)):
            yield Slot(f"{path}({name})", item, cannot)


def _defaults(value: types.FunctionType, code: types.CodeType) -> Iterator[tuple[str, Any]]:
    """A function's default values, by the names of their arguments."""
    given = value.__defaults__ or ()
    names = code.co_varnames[: code.co_argcount]
    yield from zip(names[len(names) - len(given) :], given, strict=True)
    yield from (value.__kwdefaults__ or {}).items()


def kept_on(path: str, value: Any) -> Iterator[Slot]:
    """What was put on a function or a class itself: ``step.calls``, ``Trainer.best``."""
    if isinstance(value, type):
        if issubclass(value, enum.Enum):
            return  # its members are what it is
        for i, base in enumerate(value.__bases__):
            yield Slot(f"{path}.__bases__[{i}]", base, cannot)
    inner = getattr(getattr(value, "__code__", None), "co_freevars", ())
    for name, item in tuple(vars(value).items()):
        part = getattr(item, "__func__", item)
        if isinstance(part, (types.FunctionType, KEEPS_RESULTS)):
            yield Slot(f"{path}.{name}", part, cannot)  # a method: what is kept on it
        elif not (name.startswith("__") or hasattr(type(item), "__get__")):
            place = f"{path}.__dict__.{name}" if name in inner else f"{path}.{name}"
            set_it = type.__setattr__ if isinstance(value, type) else setattr
            yield Slot(place, item, functools.partial(set_it, value, name))


def hooks_of(path: str, thing: Any) -> Iterator[Slot]:
    """The user's functions that an object calls, which may lead to what nothing else leads to."""
    if isinstance(thing, torch.nn.Module):
        for name, part in (*thing.named_modules(), *thing.named_parameters()):
            yield from _hooks_on(f"{path}.{name}" if name else path, part)
    else:
        yield from _hooks_on(path, thing)


def _hooks_on(path: str, thing: Any) -> Iterator[Slot]:
    for name in _HOOKS:
        hooks = getattr(thing, name, None) or ()
        every = hooks.values() if isinstance(hooks, dict) else hooks
        for i, hook in enumerate(filter(_is_users, every)):
            yield Slot(f"{path}.{name}[{i}]", hook, cannot)


def _is_users(hook: Any) -> bool:
    while isinstance(hook, functools.partial):
        hook = hook.func
    code = getattr(hook, "__code__", None)
    if code is not None:
        return table.is_rewritten(code.co_filename)
    return of_user(type(getattr(hook, "__self__", hook)))


def bind_on(owner: Any, name: str, value: Any) -> None:
    """Have an attribute hold a value that it does not hold yet; of a function a cell, too."""
    cells = dict(
        zip(
            getattr(getattr(owner, "__code__", None), "co_freevars", ()),
            getattr(owner, "__closure__", None) or (),
            strict=False,
        )
    )
    if name in cells:
        cells[name].cell_contents = value
    elif isinstance(owner, type):
        type.__setattr__(owner, name, value)
    elif isinstance(owner, torch.nn.Module):
        setattr(owner, name, value)
    else:
        object.__setattr__(owner, name, value)  # of a frozen one, too


def _items(path: str, value: list[Any] | tuple[Any, ...] | deque[Any]) -> Iterator[Slot]:
    for i, item in enumerate(value):
        put = cannot if isinstance(value, tuple) else functools.partial(value.__setitem__, i)
        yield Slot(f"{path}[{i}]", item, put)


def _in_array(path: str, value: array.array[Any]) -> Iterator[Slot]:
    def put(items: tuple[Any, ...]) -> None:
        value[:] = array.array(value.typecode, items)

    yield Slot(f"{path}[:]", tuple(value), put)


def _in_context(path: str, value: contextvars.ContextVar[Any]) -> Iterator[Slot]:
    def put(item: Any) -> None:
        value.set(item)

    yield Slot(f"{path}.get()", value.get(None), put)


def _members(path: str, value: set[Any] | frozenset[Any]) -> Iterator[Slot]:
    for i, item in enumerate(tuple(value)):
        yield Slot(f"{path}[{i}]", item, cannot)


def _entries(path: str, value: MutableMapping[Any, Any], known: Known) -> Iterator[Slot]:
    for text, key in spelled(value, known).items():
        yield Slot(f"{path}[{text}]", value[key], functools.partial(value.__setitem__, key))


def _in_loader(path: str, value: DataLoader[Any]) -> Iterator[Slot]:
    """Its generators, what the user's own samplers hold, and what reads and collates the data."""
    inner = getattr(value.batch_sampler, "sampler", None)
    samplers = {"sampler": value.sampler, "batch_sampler": value.batch_sampler}
    if inner is not value.sampler:
        samplers["batch_sampler.sampler"] = inner
    for name, part in {"generator": value.generator, **samplers}.items():
        own = getattr(part, "generator", None)
        if rng.is_generator(part):
            yield Slot(f"{path}.{name}", part, cannot)
        elif of_user(type(part)):
            yield from attributes(f"{path}.{name}", part)
        elif rng.is_generator(own):
            yield Slot(f"{path}.{name}.generator", own, cannot)
    for name in ("dataset", "collate_fn"):
        yield Slot(f"{path}.{name}", getattr(value, name), cannot)


def attributes(path: str, value: Any) -> Iterator[Slot]:
    """What an object holds, in its dictionary and its slots."""
    space = space_of(value)
    for name, item in tuple(space.items()) if space is not value else ():
        yield Slot(f"{path}.{name}", item, functools.partial(bind_on, value, name))
    for cls in type(value).__mro__:
        for name, slot in tuple(vars(cls).items()):
            if isinstance(slot, types.MemberDescriptorType) and hasattr(value, name):
                put = functools.partial(bind_on, value, name)
                yield Slot(f"{path}.{name}", getattr(value, name), put)


def space_of(value: Any) -> Mapping[str, Any]:
    """An object's dictionary; no ``__getattr__`` of the user's own is asked for it."""
    try:
        space: Mapping[str, Any] = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}
    return space


def _in_shared_memory(path: str, value: Any) -> Iterator[Slot]:
    """What a ``multiprocessing.Value`` or ``Array`` holds, which workers read too."""
    if hasattr(value, "value"):
        yield Slot(f"{path}.value", value.value, functools.partial(setattr, value, "value"))
    elif hasattr(value, "__len__"):
        put = functools.partial(value.__setitem__, slice(None))
        yield Slot(f"{path}[:]", tuple(value[:]), put)


def _self(path: str, value: types.MethodType) -> Iterator[Slot]:
    yield Slot(f"{path}.__self__", value.__self__, cannot)


def _arguments(path: str, value: functools.partial[Any]) -> Iterator[Slot]:
    for i, item in enumerate((value.func, *value.args, *value.keywords.values())):
        yield Slot(f"{path}({i})", item, cannot)


_INSIDE: dict[Any, Callable[[str, Any], Iterator[Slot]]] = {
    (list, tuple, deque): _items,
    (set, frozenset): _members,
    DataLoader: _in_loader,
    torch.utils.data.Subset: attributes,
    torch.utils.data.TensorDataset: attributes,
    torch.utils.data.ConcatDataset: attributes,
    torch.utils.data.ChainDataset: attributes,
    torch.utils.data.StackDataset: attributes,
    (argparse.Namespace, types.SimpleNamespace, queue.Queue): attributes,
    (collections.UserDict, collections.UserList, collections.ChainMap): attributes,
    array.array: _in_array,
    contextvars.ContextVar: _in_context,
    types.MethodType: _self,
    functools.partial: _arguments,
}


_HOLDERS = tuple(
    kind for kinds in _INSIDE for kind in (kinds if isinstance(kinds, tuple) else (kinds,))
)


def _is_shared(kind: type) -> bool:
    return kind.__module__ == "multiprocessing.sharedctypes"


def filled(cell: types.CellType) -> bool:
    """Whether a cell holds anything yet."""
    try:
        cell.cell_contents  # noqa: B018 - reading it is the question
    except ValueError:
        return False
    return True


def cannot(value: Any) -> None:
    """A place that keeps what it holds; only what is inside can change."""
