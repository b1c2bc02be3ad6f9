from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, Union

import attrs
import pytest

from hookcore.errors import UsageError
from hookcore.options import build, convert, describe, spell
from hookcore.settings import Given, Layer, Origin


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@attrs.define
class Inner:
    x: int = 0


TEXT = [
    ("3", int, 3),
    (" 3 ", int, 3),
    ("-1", int, -1),
    ("1e-3", float, 0.001),
    ("inf", float, float("inf")),
    ("3", float, 3.0),
    ("three", str, "three"),
    ("", str, ""),
    ("a,b", str, "a,b"),
    *((word, bool, True) for word in ("true", "1", "yes", "on", "TRUE")),
    *((word, bool, False) for word in ("false", "0", "no", "off")),
    ("a/b", Path, Path("a/b")),
    ("~/b", Path, Path.home() / "b"),
    ("max", Literal["min", "max"], "max"),
    ("MAX", Literal["min", "max"], "max"),
    ("2", Literal[1, 2], 2),
    ("red", Colour, Colour.RED),
    ("BLUE", Colour, Colour.BLUE),
    ("2", Level, Level.HIGH),
    ("low", Level, Level.LOW),
    ("none", int | None, None),
    ("None", Optional[int], None),  # noqa: UP045 - as many people write it
    ("3", int | None, 3),
    ("none", str | None, None),
    ("3", Union[str, int], 3),  # noqa: UP007 - as many people write it
    ("a", str | int, "a"),
    ("2.5", int | float, 2.5),
    ("auto", Literal["auto"] | int, "auto"),
    ("7", Literal["auto"] | int, 7),
    ("a, b,c", list[str], ["a", "b", "c"]),
    ("", list[str], []),
    ("1,2", tuple[int, ...], (1, 2)),
    ("0.9,0.99", tuple[float, float], (0.9, 0.99)),
    ("1,2", set[int], {1, 2}),
    ("1,2", Sequence[int], [1, 2]),
    ("a,b", list, ["a", "b"]),
    ("1,2", list[int] | None, [1, 2]),
    ("none", list[int] | None, None),
    ("x", Any, "x"),
    ("3", Annotated[int, "unit"], 3),
]


@pytest.mark.parametrize(("value", "kind", "wanted"), TEXT)
def test_text_is_read_as_people_write_it(value, kind, wanted):
    """What the command line and the environment give becomes the field's type."""
    made = convert(value, kind, True)
    assert made == wanted
    assert type(made) is type(wanted)


BAD_TEXT = [
    ("three", int),
    ("2.5", int),
    ("", int),
    ("three", float),
    ("maybe", bool),
    ("2", bool),
    ("", Path),
    ("mid", Literal["min", "max"]),
    ("green", Colour),
    ("three", int | None),
    ("1,x", list[int]),
    ("1", tuple[float, float]),
    ("a=1", dict[str, int]),
    ("x", Callable[..., Any]),
]


@pytest.mark.parametrize(("value", "kind"), BAD_TEXT)
def test_text_of_the_wrong_type(value, kind):
    """It is a ValueError that quotes the value."""
    with pytest.raises(ValueError, match=r"is no|is neither|has not") as error:
        convert(value, kind, True)
    assert value.split(",")[-1] in str(error.value)


TYPED = [
    (3, int, 3),
    (3, float, 3.0),
    (True, bool, True),
    ("3", str, "3"),
    (Path("a"), Path, Path("a")),
    ("a", Path, Path("a")),
    ("max", Literal["min", "max"], "max"),
    (Colour.RED, Colour, Colour.RED),
    ("red", Colour, Colour.RED),
    (2, Level, Level.HIGH),
    (None, int | None, None),
    ("none", int | None, None),
    ("3", int | str, "3"),
    (3.0, int | float, 3.0),
    ([1, 2], list[int], [1, 2]),
    ((1, 2), list[int], [1, 2]),
    ([0.9, 1], tuple[float, float], (0.9, 1.0)),
    ({"a": 1}, dict[str, int], {"a": 1}),
    (len, Callable[..., Any], len),
    ({"x": 3}, Inner, Inner(3)),
]


@pytest.mark.parametrize(("value", "kind", "wanted"), TYPED)
def test_values_keep_their_type(value, kind, wanted):
    """What the call and pyproject.toml give is taken where its type fits."""
    made = convert(value, kind, False)
    assert made == wanted
    assert type(made) is type(wanted)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("3", int),
        ("three", int),
        (2.5, int),
        (3.0, int),
        (True, int),
        (True, float),
        ("1.0", float),
        (1, bool),
        ("true", bool),
        (3, str),
        (None, str),
        (None, int),
        (3, Path),
        (True, Literal[1, 2]),
        (1, Literal["1"]),
        ("a,b", list[str]),
        (["a"], list[int]),
        ({"a": "x"}, dict[str, int]),
        (3, Callable[..., Any]),
    ],
)
def test_values_of_the_wrong_type(value, kind):
    """Nothing is turned into what it is not: 1 is no bool, "3" no int, 2.5 neither."""
    with pytest.raises(ValueError, match=r"is no|is neither|has not"):
        convert(value, kind, False)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (int, "int"),
        (int | None, "int | none"),
        (Literal["min", "max"], "min | max"),
        (Literal["auto"] | float, "auto | float"),
        (list[int], "list of int"),
        (tuple[float, float], "tuple of float"),
        (Path, "path"),
        (Colour, "red | blue"),
        (Any, "any"),
        (None, "any"),
        (dict[str, int], "dict[str, int]"),
    ],
)
def test_types_in_words(kind, text):
    """The list of plugins says what an option takes."""
    assert spell(kind) == text


@attrs.define(eq=False, kw_only=True)
class Plugin:
    patience: int = attrs.field(
        default=3, validator=attrs.validators.ge(1), metadata={"help": "how long"}
    )
    mode: Literal["min", "max"] = "min"
    kind: str = attrs.field(default="a", validator=attrs.validators.instance_of(str))
    names: list[str] = attrs.field(factory=list)
    secret: str = attrs.field(default="k", repr=False)
    low: int = 0
    high: int = 9
    _private: int = 0
    state: int = attrs.field(init=False, default=0)

    def __attrs_post_init__(self):
        if self.low > self.high:
            raise ValueError("low is above high")


@attrs.define(eq=False, kw_only=True)
class Needy:
    url: str


class Plain:
    pass


def options(**values):
    origin = Origin("-o ...", Layer.COMMAND)
    return {name: Given(value, origin, isinstance(value, str)) for name, value in values.items()}


def test_describe():
    """Public fields that __init__ takes; values of an instance; a field without repr is hidden."""
    records = {record.name: record for record in describe(Plugin)}
    assert list(records) == ["patience", "mode", "kind", "names", "secret", "low", "high"]
    patience = records["patience"]
    assert (patience.type, patience.default, patience.value) == ("int", 3, None)
    assert patience.help == "how long"
    assert records["names"].default == []
    assert records["secret"].default == "(hidden)"
    assert describe(Plugin(patience=7))[0].value == 7
    assert describe(Needy)[0].default is attrs.NOTHING
    assert describe(Plain()) == ()


def test_build():
    """Options reach the fields; an instance gets a changed copy; without options it stays."""
    assert build(Plugin, options(patience="7", NAMES="a,b"), "x").names == ["a", "b"]
    instance = Plugin(low=1)
    assert build(instance, {}, "x") is instance
    changed = build(instance, options(high="5"), "x")
    assert (changed.low, changed.high, instance.high) == (1, 5, 9)
    assert isinstance(build(Plain, {}, "x"), Plain)


@pytest.mark.parametrize(
    ("cls", "given", "parts"),
    [
        (Plugin, {"patiense": "7"}, ["'x' has no option 'patiense'", "did you mean 'patience'?"]),
        (Plugin, {"_private": "7"}, ["has no option '_private'"]),
        (Plain, {"patience": "7"}, ["has no option 'patience'", "it has no options"]),
        (
            Plugin,
            {"patience": "three"},
            ["patience = 'three' (-o ...)", "'three' is no int", "x.patience: int, default 3"],
        ),
        (Plugin, {"patience": "0"}, ["patience = '0'", "'patience' must be >= 1: 0"]),
        (Plugin, {"mode": "mid"}, ["'mid' is none of: min, max", "x.mode: min | max"]),
        (Plugin, {"low": "5", "high": "4"}, ["low = '5', high = '4'", "low is above high"]),
        (Plugin, {"names": 3}, ["names = 3", "3 is no list of str", "default made anew"]),
        (Needy, {}, ["needs its option 'url'", "-o x.url=..."]),
    ],
)
def test_what_the_user_typed_wrongly(cls, given, parts):
    """Plugin, option, value, what is allowed and the nearest match are named."""
    with pytest.raises(UsageError) as error:
        build(cls, options(**given), "x")
    for part in parts:
        assert part in str(error.value)


def test_only_the_message_of_an_attrs_error_is_shown():
    """What attrs puts behind it, the whole field, nobody wants to read."""
    given = {"kind": Given(3, Origin("-o ...", Layer.CALL))}
    with pytest.raises(UsageError) as error:
        build(Plugin, given, "x")
    assert "Attribute(" not in str(error.value)
