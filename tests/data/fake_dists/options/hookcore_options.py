"""A plugin with an option of each kind."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import attrs
from attrs import validators

from hookcore.hookspecs import hookimpl

if TYPE_CHECKING:
    from only_type_checkers import know_this


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@attrs.define(eq=False, kw_only=True)
class Options:
    """Takes everything."""

    role: ClassVar[str] = "control"
    claims: ClassVar[tuple[str, ...]] = ("lr",)

    patience: int = attrs.field(
        default=10, validator=validators.ge(1), metadata={"help": "arrivals to wait"}
    )
    min_delta: float = 0.0
    verbose: bool = False
    monitor: str = "auto"
    mode: Literal["auto", "min", "max"] = "auto"
    limit: int | None = None
    names: list[str] = attrs.field(factory=list)
    betas: tuple[float, float] = (0.9, 0.999)
    directory: Path | None = None
    colour: Colour = Colour.RED
    table: dict[str, int] = attrs.field(factory=dict)
    token: str = attrs.field(default="secret", repr=False)
    _model: know_this = attrs.field(init=False, default=None)

    @hookimpl
    def on_epoch_end(self, run, epoch):
        pass
