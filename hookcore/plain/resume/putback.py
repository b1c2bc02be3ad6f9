"""A snapshot's objects and values, put back into the live ones behind a loop's names."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import attrs
import torch

from hookcore.errors import UsageError
from hookcore.plain.buffers import address, make_room, memory, spread
from hookcore.plain.resume import iterators, rng
from hookcore.plain.resume.made import finish, make
from hookcore.plain.resume.outside import within
from hookcore.plain.resume.paths import name_of, place_in, unspelled
from hookcore.plain.resume.reach import GRADIENT, Reach
from hookcore.plain.resume.refill import Refill
from hookcore.plain.resume.slots import BY_KEY, bind_on
from hookcore.plain.resume.state import class_name
from hookcore.plain.resume.turning import turn_to
from hookcore.snapshot import home

if TYPE_CHECKING:
    from hookcore.plain.resume.passes import Feeds
    from hookcore.snapshot import ObjectRecord

AFRESH = "start afresh:  leave out --resume"
FRESH = f"{AFRESH}     take the weights alone:  --resume-mode weights"


class PutBack:
    """Puts one snapshot back.

    Args:
        reach: What the loop's names lead to now.
        names: Names of the loop's frame that its own code can bind.
        anew: Names that the loop binds before it reads them.

    Attributes:
        given: What the frame's code must bind itself.
        live: The live objects, by the names of their records.
    """

    def __init__(
        self, reach: Reach, names: tuple[str, ...], anew: frozenset[str] = frozenset()
    ) -> None:
        self._reach = reach
        self._anew = anew
        self._names = names
        self.live: dict[str, Any] = {}
        self.given: dict[str, Any] = {}

    def objects(self, records: Iterable[ObjectRecord]) -> None:
        """Objects with a state, in place.

        Raises:
            UsageError: They do not fit what is here.
        """
        for record in records:
            self.make(record.name, record)
            if record.name not in self._reach.objects and self._is_bound_anew(record.name):
                continue
            self.live[record.name] = self._object(record)
            load_object(self.live[record.name], record)

    def make(self, path: str, record: ObjectRecord) -> None:
        """Copy a model that the loop had copied, where nothing stands at its path yet."""
        if path in self._reach.objects or record.kind != "module":
            return
        thing = self._like(record)
        if thing is not None:
            self._bind(path, thing)
            self._reach.add(path, thing)

    def known(self, live: Mapping[str, Any]) -> None:
        """Objects that are back already, or will be, by the names of their records."""
        self.live.update(live)

    def settings(self, states: Mapping[str, Any]) -> None:
        """Schedulers, and the groups of optimizers: all of their state that is small."""
        for path, state in states.items():
            thing = self._reach.objects.get(path)
            if isinstance(thing, torch.optim.Optimizer):
                for group, saved in zip(thing.param_groups, state["groups"], strict=False):
                    group.update(saved)
                _set_stepped(thing, state["stepped"])
            elif thing is not None:
                thing.load_state_dict(state)

    def values(self, variables: Mapping[str, Any], records: Iterable[ObjectRecord]) -> None:
        """What refers to objects, and what stands alone.

        Args:
            variables: The values, by path.
            records: The snapshot's objects, parts of which the values may be.

        Raises:
            UsageError: They do not fit what is here.
        """
        aliases, owned = _aliases(self.live, [r for r in records if r.name in self.live])
        refill = Refill(aliases, owned)
        gradients = []
        for path, value in variables.items():
            if path.endswith(GRADIENT):
                gradients.append((path.removesuffix(GRADIENT), value))
                continue
            slot = self._reach.slots.get(path)
            current = self._current(path) if slot is None else slot.value
            result = refill.into(current, value)
            if slot is None or result is not current:
                self._bind(path, result)
        for path, value in gradients:
            # A name that the loop alone binds is not there yet: its tensor is what goes into it.
            tensor = self._reach.tensors.get(path, self.given.get(path))
            if isinstance(tensor, torch.Tensor) and tensor.is_leaf:
                tensor.grad = value.to(home(value))

    def iterators(self, places: Mapping[str, Any]) -> None:
        """Iterators whose place can be told.

        Raises:
            UsageError: One is not there.
        """
        for path, place in places.items():
            iterator = self._reach.iterators.get(path)
            if iterator is None or not turn_to(iterator, place):
                raise misfit(f"it has an iterator {path} at {place}, and here is none")

    def passes(self, feeds: Feeds, level: Mapping[str, Any]) -> None:
        """Iterators of DataLoaders that stand in variables, and workers that are kept.

        Raises:
            UsageError: Their DataLoader is not there.
        """
        for path, record in level.get("named", {}).items():
            iterator = feeds.named(self._loader(record["loader"]), record)
            check_order(iterator, record)
            self._bind(path, iterator)
        for path, record in level.get("kept", {}).items():
            feeds.keep(self._loader(path), record)

    def generators(self, states: Mapping[str, Any]) -> None:
        """Explicit random generators.

        Raises:
            UsageError: One is not there.
        """
        for path, state in states.items():
            if path not in self._reach.generators:
                raise misfit(f"it has a random generator {path}, here is none")
            rng.put_generator(self._reach.generators[path], state)

    def _loader(self, path: str) -> Any:
        if path not in self._reach.loaders:
            raise misfit(f"it has a DataLoader {path}, here is none")
        return self._reach.loaders[path]

    def _object(self, record: ObjectRecord) -> Any:
        """The live object that a record belongs to."""
        thing = self._reach.objects.get(record.name)
        if thing is None or class_name(thing) != record.class_name:
            found = "nothing" if thing is None else class_name(thing)
            raise misfit(f"it has {record.name} as {record.class_name}, here is {found}")
        return thing

    def _like(self, record: ObjectRecord) -> Any:
        wanted = {name: _shape(value) for name, value in record.state.items()}
        alike = (t for t in self._reach.objects.values() if class_name(t) == record.class_name)
        for thing in alike:
            if {name: _shape(value) for name, value in thing.state_dict().items()} == wanted:
                return copy.deepcopy(thing)
        return None

    def _current(self, path: str) -> Any:
        """What stands at a path that was plain then, and holds something else now."""
        return self._reach.objects.get(path)

    def made(self, made: Mapping[str, Any]) -> None:
        """Objects and containers that the loop had made by then.

        Args:
            made: What :func:`~.made.made_by` gave.
        """
        make(self, self._reach, made)

    def finish(self, made: Mapping[str, Any]) -> None:
        """The last of it, once everything is back.

        Args:
            made: What :meth:`made` was given.
        """
        finish(self, self._reach, made)

    def bind(self, path: str, value: Any) -> bool:
        """Have a path lead to a value; False where there is no place for it."""
        slot = self._reach.slots.get(path)
        if slot is not None and slot.put is not None:
            slot.put(value)
        elif path in self._names:
            self.given[path] = value
        else:
            return self._bind_inside(path, value)
        return True

    def _bind(self, path: str, value: Any) -> None:
        if not self.bind(path, value) and not self._is_bound_anew(path):
            raise misfit(f"it has {path}, and here is no place for it")

    def _is_bound_anew(self, path: str) -> bool:
        """Whether the loop binds its name before it reads it: what it was is nothing to it."""
        return name_of(path) in self._anew

    def _bind_inside(self, path: str, value: Any) -> bool:
        """A name, an attribute, a key or an item that is not there yet."""
        module, colon, name = path.partition(":")
        if colon and name.isidentifier():
            self._reach.modules[module][name] = value
            return True
        owner, dot, name = path.rpartition(".")
        if dot and name.isidentifier() and owner in self._reach.owners:
            bind_on(self._reach.owners[owner], name, value)
            return True
        inside = place_in(path)
        if inside is None:
            return False
        owner, text = inside
        empty = self._reach.slots.get(owner)  # or one that holds nothing of the kind yet
        holder = self._reach.owners.get(owner, empty.value if empty is not None else None)
        if not isinstance(holder, (list, deque, *BY_KEY)):
            return False
        try:
            place = unspelled(text, self._reach.standing)
        except ValueError:
            return False
        if isinstance(holder, list) and place == len(holder):
            holder.append(value)
        elif isinstance(holder, BY_KEY) or place < len(holder):
            holder[place] = value
        else:
            return False
        return True


def check_order(iterator: Any, record: Mapping[str, Any]) -> None:
    """Compare what a DataLoader draws next with what it would have drawn.

    Raises:
        UsageError: It is another order.
    """
    here = iterators.peek(iterator)
    if here != record["next"]:
        raise UsageError(
            "this checkpoint cannot be continued in the middle of its epoch",
            f"the DataLoader draws {_few(here)} next, and drew {_few(record['next'])} then: "
            "its order cannot be made again",
            FRESH,
        )


def _few(indices: Any) -> str:
    if isinstance(indices, list) and len(indices) > 4:
        return f"{indices[:4]}..."
    return "nothing" if indices is None else str(indices)


def load_object(thing: Any, record: ObjectRecord) -> None:
    """Put one object's state back, in place.

    Raises:
        UsageError: It does not fit.
    """
    outside = record.extras.get("outside", ())
    if outside:
        record = attrs.evolve(record, state=within(record.state, thing.state_dict(), outside))
    if record.kind == "module":
        load_weights(thing, record)
        _load_extras(thing, record.extras)
        return
    state = _at_home(record.state) if record.kind == "stateful" else record.state
    groups = [dict(group) for group in getattr(thing, "param_groups", ())]
    try:
        thing.load_state_dict(state)
    except (LookupError, RuntimeError, TypeError, ValueError) as error:
        raise misfit(f"{record.name} does not take its state: {error}") from error
    if record.kind == "optimizer":
        for group, before in zip(thing.param_groups, groups, strict=True):
            for name, value in before.items():
                group.setdefault(name, value)
        _set_stepped(thing, record.extras.get("stepped", False))


def _set_stepped(optimizer: Any, stepped: bool) -> None:
    """Torch's own mark, by which a scheduler tells that the optimizer has stepped before it."""
    if stepped:
        optimizer._opt_called = True  # noqa: SLF001 - torch names no other way


def load_weights(module: Any, record: ObjectRecord) -> None:
    """Weights and buffers of a module.

    Raises:
        UsageError: They are another model's.
    """
    extras = record.extras
    make_room(module, {**record.state, **extras.get("buffers", {})}, extras.get("empty", ()))
    try:
        module.load_state_dict(record.state)
    except (RuntimeError, TypeError) as error:
        mismatch = str(error).splitlines()[1:2] or [str(error)]
        raise UsageError(
            f"this checkpoint belongs to another model ({record.name})", mismatch[0].strip(), FRESH
        ) from error
    _load_buffers(module, record)


def _load_buffers(module: Any, record: ObjectRecord) -> None:
    """Those that a ``state_dict`` leaves out."""
    buffers = dict(module.named_buffers())
    with torch.no_grad():
        for name, buffer in record.extras.get("buffers", {}).items():
            if name in buffers and buffers[name].shape == buffer.shape:
                buffers[name].copy_(buffer)


def take_weights(module: Any, record: ObjectRecord) -> tuple[int, list[str]]:
    """Those weights and buffers that a module has a place of the same shape for.

    Returns:
        How many, and what does not fit.
    """
    saved, now, fitting, left = record.state, module.state_dict(), {}, []
    for name, value in now.items():
        if name not in saved:
            left.append(f"{name}, which is not in the checkpoint")
        elif _shape(saved[name]) != _shape(value):
            left.append(f"{name}, {_words(saved[name])} there and {_words(value)} here")
        else:
            fitting[name] = saved[name]
    left += [f"{name}, for which there is no place here" for name in saved if name not in now]
    spread(module)
    module.load_state_dict(fitting, strict=False)
    _load_buffers(module, record)
    return len(fitting), left


def _words(value: Any) -> str:
    return str(list(value.shape)) if isinstance(value, torch.Tensor) else type(value).__name__


def _load_extras(module: Any, extras: dict[str, Any]) -> None:
    """Gradients that wait for a step, and the flags."""
    flags, gradients = extras.get("requires_grad", {}), extras.get("grads", {})
    for name, parameter in module.named_parameters():
        grad = gradients.get(name)
        parameter.grad = None if grad is None else grad.to(parameter.device).clone()
        parameter.requires_grad_(flags.get(name, True))
    modules = dict(module.named_modules())
    for name, training in extras.get("training", {}).items():
        if name in modules:
            modules[name].training = training


def _aliases(
    live: dict[str, Any], records: list[ObjectRecord]
) -> tuple[dict[tuple[int, Any], torch.Tensor], set[int | None]]:
    """Tensors of the snapshot's models with the live ones they stand for; the live ones' memory."""
    found: dict[tuple[int, Any], torch.Tensor] = {}
    owned: set[int | None] = set()
    for record in records:
        if record.kind == "module":
            now = live[record.name].state_dict()
            for name, saved in record.state.items():
                place = address(saved) if isinstance(saved, torch.Tensor) else None
                if place is not None and saved.numel() and name in now:
                    found[place] = now[name]
                    owned.add(memory(now[name]))
    return found, owned


def _at_home(value: Any) -> Any:
    """A user's state with its tensors on the devices where they were."""
    if isinstance(value, torch.Tensor):
        return value.to(home(value))
    if isinstance(value, dict):
        for name, item in value.items():
            value[name] = _at_home(item)
    elif isinstance(value, list):
        value[:] = [_at_home(item) for item in value]
    return value


def _shape(value: Any) -> Any:
    return tuple(value.shape) if isinstance(value, torch.Tensor) else type(value)


def misfit(why: str) -> UsageError:
    """The error for a checkpoint that does not fit what is here."""
    return UsageError("this checkpoint belongs to another run", why, FRESH)
