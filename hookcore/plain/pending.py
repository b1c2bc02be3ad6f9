"""A checkpoint that waits for its loop, and is put back there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from hookcore.errors import UsageError
from hookcore.plain import rng
from hookcore.plain.reach import Reach, Slot
from hookcore.plain.state import class_name, digests, site_key
from hookcore.snapshot import home

if TYPE_CHECKING:
    from hookcore.plain.adapter import Plain
    from hookcore.plain.sites import Loop
    from hookcore.snapshot import ObjectRecord, Snapshot
    from hookcore.training import Fit, Run

_FRESH = "start afresh:  leave out --resume     take the weights alone:  --resume-mode weights"


class Pending:
    """Continues a run from a snapshot.

    The script runs from its start. When the snapshot's loop is reached, its finished iterations
    are passed over without their bodies; in place of the last one's body everything is put back,
    in place; at the head after it, random states come last.

    Attributes:
        iteration: Index of the loop's last finished iteration.
        position: The snapshot's position.
        done: Whether everything is back.
    """

    def __init__(self, host: Plain, snapshot: Snapshot) -> None:
        self._host = host
        self._snapshot = snapshot
        self._loop: Loop | None = None
        self.position = snapshot.position
        self.weights_only = host.run.resume == "weights"
        self.done = False
        if not self.weights_only and "site" not in snapshot.position:
            raise UsageError(
                "this checkpoint cannot be resumed from",
                f"it was taken in mid-epoch ({snapshot.header.reason})",
                _FRESH,
            )
        self.iteration: int = snapshot.position.get("iteration", 0)
        if not self.weights_only:
            self._load_plugins()

    def reached(self, loop: Loop) -> bool:
        """Whether this is the entry of the loop that the snapshot was taken in.

        Raises:
            UsageError: It is, but the code has changed since.
        """
        if self._loop is not None or self.weights_only:
            return False
        folder = str(self._host.run.folder)
        self._check_code(digests(loop, folder), all_of_them=False)
        if site_key(loop, folder) != list(self.position["site"]):
            return False
        if self._host.entries[loop.site.id] != self.position["entry"]:
            return False
        self._check_code(digests(loop, folder))
        self._loop = loop
        return True

    def put_back(self, names: dict[str, Any]) -> dict[str, Any]:
        """Put objects and values back, in place; what the frame must bind itself is returned."""
        assert self._loop is not None
        snapshot = self._snapshot.resolve()
        site = self._loop.site
        reach = Reach({} if site.module_level else names, site.module)
        live = {}
        for record in snapshot.objects:
            live[record.name] = self._object(reach, record)
        for record in snapshot.objects:
            load_object(live[record.name], record)
        aliases = _aliases(live, snapshot.objects)
        given: dict[str, Any] = {}
        for path, value in snapshot.variables.items():
            wanted = _relinked(value, aliases)
            slot = reach.slots.get(path)
            if slot is None:
                slot = self._missing(reach, path)
            if not _fill(slot.value, wanted):
                if slot.put is None:
                    given[path] = wanted
                else:
                    slot.put(wanted)
        for path, state in snapshot.rng["generators"].items():
            if path in reach.generators:
                rng.put_generator(reach.generators[path], state)
        self.restored = True
        return given

    restored = False

    def went_back(self, loop: Loop) -> bool:
        """At a head: whether it is the one the snapshot was taken at. Random states come last."""
        if loop is not self._loop or self.done:
            return False
        if not self.restored:
            self.put_back({})
        loop.index = self.iteration
        loop.first = loop.index + 1
        rng.put(self._snapshot.rng["streams"])
        self.done = True
        return True

    def count(self, fit: Fit) -> None:
        """Give a fit the counters of the snapshot."""
        position = self.position
        fit.epoch = position["epoch"] - 1
        for name in ("epochs_done", "batches", "step", "validations"):
            setattr(fit, name, position[name])
        if fit.samples is not None and position["samples"] is not None:
            fit.samples += position["samples"]

    def missed(self, fit: Fit) -> None:
        """Another fit begins.

        Raises:
            UsageError: It stands where the checkpoint's should.
        """
        if fit.index >= self.position["fit"]:
            raise UsageError("this checkpoint belongs to another run", self._unreached, _FRESH)

    def ended(self, run: Run) -> None:
        """The run is over: say so if nothing of the checkpoint has come back."""
        if not self.done:
            run.fail(f"nothing was resumed: {self._unreached}")

    @property
    def _unreached(self) -> str:
        if self.weights_only:
            return "no training loop was recognised"
        path, line = self.position["site"][0], self.position["line"]
        return f"the loop at {path}:{line}, which it was saved in, was not reached"

    def load_weights(self, fit: Fit) -> None:
        """With ``--resume-mode weights``: the models' weights into a fresh fit, where they fit."""
        records = [r for r in self._snapshot.objects if r.kind == "module"]
        for model, record in zip(fit.models, records, strict=False):
            load_module_state(model, record)
        self.done = True

    def _load_plugins(self) -> None:
        for record in self._host.run.plugins:
            load = getattr(record.plugin, "load_state_dict", None)
            saved = self._snapshot.plugins.get(record.name)
            if record.status == "active" and load is not None and saved is not None:
                load(saved["state"])

    def _check_code(self, now: dict[str, str], *, all_of_them: bool = True) -> None:
        then = self.position["digests"]
        compared = {*then, *now} if all_of_them else then.keys() & now.keys()
        changed = sorted(path for path in compared if then.get(path) != now.get(path))
        if changed:
            raise UsageError(
                "this checkpoint belongs to other code",
                f"changed since it was written: {', '.join(changed)}",
                _FRESH,
            )

    def _object(self, reach: Reach, record: ObjectRecord) -> Any:
        thing = reach.objects.get(record.name)
        if thing is None or class_name(thing) != record.class_name:
            found = "nothing" if thing is None else class_name(thing)
            raise UsageError(
                "this checkpoint belongs to another run",
                f"it has {record.name} as {record.class_name}, here is {found}",
                _FRESH,
            )
        return thing

    def _missing(self, reach: Reach, path: str) -> Slot:
        """A name that is not bound yet, in the frame, a module or an object."""
        assert self._loop is not None
        if path in self._loop.site.names:
            return Slot(path, None, None)
        owner, dot, name = path.rpartition(".")
        for known, slot in reach.slots.items():
            if dot and known.rpartition(".")[0] == owner and slot.put is not None:
                return Slot(path, None, _beside(slot.put, name))
        module, colon, name = path.partition(":")
        if colon and name.isidentifier():
            import sys

            return Slot(path, None, lambda value: setattr(sys.modules[module], name, value))
        return Slot(path, None, lambda value: None)


def _beside(put: Any, name: str) -> Any:
    """The same setter for another attribute of the same object."""
    import functools

    return functools.partial(put.func, put.args[0], name)


def load_object(thing: Any, record: ObjectRecord) -> None:
    """Put one object's state back, in place."""
    if record.kind == "module":
        load_module_state(thing, record)
    else:
        thing.load_state_dict(record.state)


def load_module_state(module: Any, record: ObjectRecord) -> None:
    """Weights, buffers, flags and gradients of a module."""
    try:
        module.load_state_dict(record.state)
    except RuntimeError as error:
        mismatch = str(error).splitlines()[1:2] or [str(error)]
        raise UsageError(
            f"this checkpoint belongs to another model ({record.name})", mismatch[0].strip(), _FRESH
        ) from error
    extras = record.extras
    parameters, buffers = dict(module.named_parameters()), dict(module.named_buffers())
    with torch.no_grad():
        for name, buffer in extras.get("buffers", {}).items():
            if name in buffers:
                buffers[name].copy_(buffer)
        for name, parameter in parameters.items():
            grad = extras.get("grads", {}).get(name)
            parameter.grad = None if grad is None else grad.to(parameter.device).clone()
            parameter.requires_grad_(extras.get("requires_grad", {}).get(name, True))
    modules = dict(module.named_modules())
    for name, training in extras.get("training", {}).items():
        if name in modules:
            modules[name].training = training


def _aliases(live: dict[str, Any], records: list[ObjectRecord]) -> dict[tuple[int, Any], Any]:
    """Tensors of the snapshot's states, and the live tensors they stand for."""
    found = {}
    for record in records:
        if record.kind == "module":
            now = live[record.name].state_dict(keep_vars=False)
            for name, saved in record.state.items():
                if isinstance(saved, torch.Tensor) and saved.numel():
                    found[saved.data_ptr(), saved.shape] = now[name]
    return found


def _relinked(value: Any, aliases: dict[tuple[int, Any], Any]) -> Any:
    """A value whose tensors that were the model's own are the live model's own again."""
    if isinstance(value, torch.Tensor):
        live = aliases.get((value.data_ptr(), value.shape)) if value.numel() else None
        return value.to(home(value)) if live is None else live
    if isinstance(value, dict):
        for name, item in value.items():
            value[name] = _relinked(item, aliases)
    elif type(value) is list:
        value[:] = [_relinked(item, aliases) for item in value]
    elif type(value) is tuple:
        return tuple(_relinked(item, aliases) for item in value)
    return value


def _fill(current: Any, wanted: Any) -> bool:
    """Make an existing container or array equal to ``wanted``, keeping its identity."""
    kind = type(wanted)
    if kind is not type(current) or current is None:
        return False
    if current is wanted:
        return True
    if kind is list:
        current[:] = wanted
    elif isinstance(wanted, (dict, set)):
        current.clear()
        current.update(wanted)
    elif kind.__name__ == "deque" and current.maxlen == wanted.maxlen:
        current.clear()
        current.extend(wanted)
    elif isinstance(wanted, torch.Tensor):
        return _fill_tensor(current, wanted)
    elif kind.__module__ == "numpy" and hasattr(wanted, "dtype") and wanted.shape:
        if current.shape != wanted.shape or current.dtype != wanted.dtype:
            return False
        current[...] = wanted
    else:
        return False
    return True


def _fill_tensor(current: torch.Tensor, wanted: torch.Tensor) -> bool:
    same = current.shape == wanted.shape and current.dtype == wanted.dtype
    if not same or current.grad_fn is not None:
        return False
    with torch.no_grad():
        current.copy_(wanted)
    return True
