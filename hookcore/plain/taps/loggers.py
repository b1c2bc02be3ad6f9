"""What the loop tells a logger of its own, as metrics: TensorBoard, tqdm, Weights & Biases."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from hookcore.errors import three_parts
from hookcore.metrics import is_scalar, keep
from hookcore.plain import gate
from hookcore.plain.taps.replaced import Replaced

if TYPE_CHECKING:
    from hookcore.plain.adapter import Plain

Told = Iterable[tuple[str, Any]]


def _scalar(_writer: Any, tag: str, scalar_value: Any, *_: Any, **__: Any) -> Told:
    yield tag, scalar_value


def _scalars(
    _writer: Any, main_tag: str, tag_scalar_dict: Mapping[str, Any], *_: Any, **__: Any
) -> Told:
    return ((f"{main_tag}/{tag}", value) for tag, value in tag_scalar_dict.items())


def _postfix(_bar: Any, ordered_dict: Any = None, _refresh: Any = True, **values: Any) -> Told:
    values.pop("refresh", None)
    yield from dict(ordered_dict or {}).items()
    yield from values.items()


def _method_data(_run: Any, data: Mapping[str, Any], *_: Any, **__: Any) -> Told:
    return data.items()


def _data(data: Mapping[str, Any], *_: Any, **__: Any) -> Told:
    return data.items()


# Module, class in it (or none), function, what its arguments tell, whether it only draws.
_LOGGERS: tuple[tuple[str, str, str, Callable[..., Told], bool], ...] = (
    ("torch.utils.tensorboard.writer", "SummaryWriter", "add_scalar", _scalar, False),
    ("torch.utils.tensorboard.writer", "SummaryWriter", "add_scalars", _scalars, False),
    ("tensorboardX.writer", "SummaryWriter", "add_scalar", _scalar, False),
    ("tensorboardX.writer", "SummaryWriter", "add_scalars", _scalars, False),
    ("wandb.sdk.wandb_run", "Run", "log", _method_data, False),
    ("wandb", "", "log", _data, False),
    ("tqdm.std", "tqdm", "set_postfix", _postfix, True),
)


class Loggers:
    """Functions of loggers, replaced for one run where a plugin listens to metrics.

    A record is a metric at once. What a bar draws in each batch waits, the last value for each
    name, until somebody reads the batch's variables; in a validation, until it is over.
    """

    def __init__(self, host: Plain) -> None:
        self._host = host
        self._replaced: dict[tuple[str, str, str], Replaced] = {}
        self._unread: set[str] = set()
        self._inside = False
        self._batch: dict[str, Any] = {}
        self._validation: dict[str, Any] = {}

    def look(self) -> None:
        """Hear the loggers that have been imported by now."""
        if self._host.life.events.on_log is None:
            return
        for module, kind, name, told, draws in _LOGGERS:
            found = sys.modules.get(module)
            owner = getattr(found, kind, None) if kind else found
            key = (module, kind, name)
            if owner is None or key in self._replaced or name not in vars(owner):
                continue
            original = vars(owner)[name]
            place = f"{kind}.{name}" if kind else name
            heard = functools.wraps(original)(self._heard(original, told, place, draws))
            self._replaced[key] = Replaced(owner, name, heard)

    def undo(self) -> None:
        """Put everything back, unless the logger itself has put another function there."""
        for one in self._replaced.values():
            one.put_back()
        self._replaced.clear()
        self.forget()

    def forget(self) -> None:
        """The fit is over."""
        self._batch.clear()
        self._validation.clear()

    def drawn_in_batch(self) -> dict[str, Any]:
        """What bars have shown in training batches since this was last asked for."""
        drawn, self._batch = self._batch, {}
        return drawn

    def drawn_in_validation(self) -> dict[str, Any]:
        """What bars have shown in the validation that is closing."""
        drawn, self._validation = self._validation, {}
        return drawn

    def _heard(
        self, original: Callable[..., Any], told: Callable[..., Told], place: str, draws: bool
    ) -> Callable[..., Any]:
        def log(*args: Any, **kwargs: Any) -> Any:
            if self._inside or gate.live() is not self._host:
                return original(*args, **kwargs)
            self._inside = True
            try:
                result = original(*args, **kwargs)
            finally:
                self._inside = False
            # A plugin may log too: what it writes is nothing new.
            if self._host.life.speaker is None:
                self._take(self._numbers_told(told, place, args, kwargs), place, draws)
            return result

        return log

    def _numbers_told(
        self, told: Callable[..., Told], place: str, args: Any, kwargs: Any
    ) -> dict[str, Any]:
        """What a call tells; nothing, said once, where it takes what is not known here."""
        try:
            return dict(_numbers(told(*args, **kwargs)))
        except Exception as error:  # noqa: BLE001 - whatever the user's values raise
            if place not in self._unread:
                self._unread.add(place)
                what = f"what {place} is told is no metric"
                way_out = "Give it to hookcore.log(name=value) as well for plugins to hear it."
                self._host.run.warn(three_parts(what, f"{type(error).__name__}: {error}", way_out))
            return {}

    def _take(self, values: dict[str, Any], place: str, draws: bool) -> None:
        host = self._host
        for name in values:
            host.scalars.places[name] = place
        if draws and host.evaluation.open:
            self._validation.update(values)
        elif draws and host.life.in_batch and not host.evaluation.happened:
            self._batch.update(values)
        else:
            host.life.arrived(values, "log")


def _numbers(told: Iterable[tuple[Any, Any]]) -> Iterator[tuple[str, Any]]:
    """Those of the values that are one number; a logger takes text and pictures too."""
    for name, value in told:
        if isinstance(name, str) and type(value) is not bool and is_scalar(value):
            yield name, keep(value)
