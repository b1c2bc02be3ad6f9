"""The four places in which a setting can be typed, each read into what it says."""

from __future__ import annotations

import difflib
import enum
import importlib
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import attrs

from hookcore.errors import HookcoreWarning, UsageError, three_parts

ResumeMode = Literal["auto", "must", "weights"]

_MODES = ("auto", "must", "weights")
_YES = ("1", "true", "yes", "on")
_NO = ("", "0", "false", "no", "off")
FLAGS = ("strict", "quiet", "cost")
_WORDS = ("plugins", "only", "disable", *FLAGS, "budget", "resume", "loops")
VARIABLES = tuple(f"HOOKCORE_{word.upper()}" for word in _WORDS)
ROLES = ("epoch", "batch", "validation", "ignore")
"""What a user may say of a loop."""
_TABLE = "[tool.hookcore] in pyproject.toml"


class Layer(enum.IntEnum):
    """Where a setting was typed; a higher one wins."""

    PYPROJECT = 1
    ENVIRONMENT = 2
    COMMAND = 3
    CALL = 4


@attrs.frozen
class Origin:
    """Where a setting was typed, in the words that a message uses."""

    text: str
    layer: Layer

    def __str__(self) -> str:
        return self.text


@attrs.frozen
class Given:
    """One option as the user gave it.

    Attributes:
        value: As typed.
        origin: Where.
        is_text: Whether it came as text (command line, environment) and is to be read as such.
    """

    value: Any
    origin: Origin
    is_text: bool = False


@attrs.frozen
class Added:
    """A plugin that the user named: a name, an instance, a class or a module."""

    item: Any
    origin: Origin


@attrs.define
class Said:
    """What one layer says. None: nothing."""

    strict: bool | None = None
    quiet: bool | None = None
    cost: bool | None = None
    budget: float | None = None  # 0: none, whatever a lower layer says
    resume: ResumeMode | Literal[False] | None = None
    only: tuple[tuple[str, ...], Origin] | None = None
    switches: list[tuple[bool, Any, Origin]] = attrs.field(factory=list)  # (on?, which, where)
    options: list[tuple[str, str, Given]] = attrs.field(factory=list)
    loops: dict[str, Given] = attrs.field(factory=dict)


def key(name: str) -> str:
    """What makes two spellings one plugin: ``hookcore-x``, ``hookcore_x`` and ``x``."""
    return re.sub(r"[-_.]+", "_", name.strip().lower()).removeprefix("hookcore_")


def nearest(name: str, names: Iterable[str]) -> str:
    """``did you mean 'x'?``, or nothing where no name is near."""
    found = difflib.get_close_matches(name, list(names), 1)
    return f"did you mean {found[0]!r}?" if found else ""


def warn(
    what: str, why: str = "", way_out: str = "", category: type[Warning] = HookcoreWarning
) -> None:
    """Warn in three parts."""
    warnings.warn(three_parts(f"hookcore: {what}", why, way_out), category, stacklevel=2)


def from_call(call: Mapping[str, Any], caller: str) -> Said:
    """Read what was passed to ``instrument`` or ``run``."""
    if unknown := set(call) - {*_WORDS, "options"}:
        raise TypeError(f"{caller}() got an unexpected argument {min(unknown)!r}")

    def origin(word: str) -> Origin:
        return Origin(f"{caller}({word}=...)", Layer.CALL)

    plugins = call.get("plugins") or ()
    items = plugins if isinstance(plugins, (list, tuple)) else [plugins]
    said = _from_typed({**call, "plugins": None}, origin)
    said.switches[:0] = [(True, item, origin("plugins")) for item in items]
    options = call.get("options") or {}
    for plugin, given in _tables(options, f"{caller}(options=...)"):
        for option, value in given.items():
            said.options.append((plugin, option, Given(value, origin("options"))))
    return said


def from_command(command: Mapping[str, Any]) -> Said:
    """Read the texts of ``-p`` and ``-o``, and the flags."""
    said = _from_typed(
        {word: command.get(word) for word in (*FLAGS, "budget", "resume", "loops")},
        lambda word: Origin("--loop" if word == "loops" else f"--{word}", Layer.COMMAND),
    )
    for item in (name for text in command.get("plugins") or () for name in _names(text)):
        name = item.removeprefix("no:").strip()
        if not name:
            raise UsageError(f"-p {item} names no plugin", way_out="such as:  -p no:earlystop")
        said.switches.append((item == name, name, Origin(f"-p {item}", Layer.COMMAND)))
    for text in command.get("options") or ():
        target, equals, value = text.partition("=")
        plugin, dot, option = target.strip().partition(".")
        if not (equals and dot and plugin and option):
            raise UsageError(
                f"-o {text} is no option",
                "an option has the form PLUGIN.OPTION=VALUE",
                "such as:  -o earlystop.patience=3     all of them:  hookcore plugins",
            )
        origin = Origin(f"-o {text}", Layer.COMMAND)
        said.options.append((plugin, option, Given(value, origin, True)))
    return said


def from_environ(environ: Mapping[str, str]) -> Said:
    """Read the core's own variables; those of plugins wait until the plugins are known."""

    def origin(word: str) -> Origin:
        return Origin(f"HOOKCORE_{word.upper()}", Layer.ENVIRONMENT)

    words: dict[str, Any] = {}
    for word, variable in zip(_WORDS, VARIABLES, strict=True):
        text = environ.get(variable)
        if text is None:
            continue
        if word in FLAGS:
            words[word] = flag(text, variable)
        elif word == "budget":
            words[word] = text
        elif word == "resume":
            modes: dict[str, Any] = dict.fromkeys(_YES, True) | dict.fromkeys(_NO, False)
            words[word] = modes.get(text.strip().lower(), text.strip())
        else:
            words[word] = _names(text)
    return _from_typed(words, origin)


def from_pyproject(file: Path) -> Said:
    """The table of one file. An unknown key warns: a newer hookcore's file stays readable."""
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        data = file.read_bytes()
    except OSError as error:
        warn(f"{file} cannot be read; its settings are not used", str(error))
        return Said()
    try:
        table = toml.loads(data.decode()).get("tool", {}).get("hookcore", {})
    except ValueError as error:  # TOML's and UTF-8's errors are ValueErrors
        if b"tool.hookcore" not in data:
            return Said()  # another tool's business
        raise UsageError(f"{file} cannot be read", str(error), f"repair {_TABLE}") from error
    if not isinstance(table, dict):
        raise UsageError(f"tool.hookcore in {file} is no table", f"it is {table!r}")

    def origin(_word: str) -> Origin:
        return Origin(_TABLE, Layer.PYPROJECT)

    tables = {w: value for w, value in table.items() if isinstance(value, dict) and w != "loops"}
    words = {word: value for word, value in table.items() if word not in tables}
    for word in sorted(set(words) - set(_WORDS)):
        way_out = nearest(word, _WORDS) or f"known are: {', '.join(_WORDS)}"
        warn(f"unknown key {word!r} in {_TABLE} is ignored", str(file), way_out)
        del words[word]
    said = _from_typed(words, origin)
    for plugin, given in tables.items():
        where = Origin(f"[tool.hookcore.{plugin}] in pyproject.toml", Layer.PYPROJECT)
        for option, value in given.items():
            said.options.append((plugin, option, Given(value, where)))
    return said


def _from_typed(words: Mapping[str, Any], origin: Callable[[str], Origin]) -> Said:
    """The words that every layer knows. What the same layer adds and disables stays off."""
    said = Said()
    for word in FLAGS:
        value = words.get(word)
        if value is not None and not isinstance(value, bool):
            raise UsageError(f"{origin(word)}: {word} cannot be {value!r}", "it is true or false")
        setattr(said, word, value)
    said.loops = dict(_loops(words.get("loops"), origin("loops")))
    said.budget = _share(words.get("budget"), origin("budget"))
    resume = words.get("resume")
    if resume is not None and not isinstance(resume, bool) and resume not in _MODES:
        raise UsageError(
            f"{origin('resume')}: resume cannot be {resume!r}",
            f"it is one of: {', '.join(_MODES)}",
            nearest(str(resume), _MODES),
        )
    said.resume = "auto" if resume is True else resume
    only = _strings(words.get("only"), origin("only"), "only")
    if only is not None:
        said.only = (only, origin("only"))
    for word in ("plugins", "disable"):
        for name in _strings(words.get(word), origin(word), word) or ():
            said.switches.append((word == "plugins", name, origin(word)))
    return said


def _loops(value: Any, origin: Origin) -> Iterator[tuple[str, Given]]:
    """Places and roles, of a table or of texts such as ``train.py:31=epoch``."""
    texts = [value] if isinstance(value, str) else value or ()
    if isinstance(texts, Mapping):
        texts = [f"{place}={role}" for place, role in texts.items()]
    for text in texts:
        found = re.fullmatch(r"(.+:[1-9]\d*)\s*=\s*(\w+)", str(text).strip())
        if found is None or found[2] not in ROLES:
            raise UsageError(
                f"{origin}: {text} says nothing of a loop",
                f"it has the form FILE:LINE=ROLE, and a role is one of: {', '.join(ROLES)}",
                nearest(found[2], ROLES) if found else "such as:  train.py:31=epoch",
            )
        yield found[1].strip(), Given(found[2], Origin(f"{origin} {text}", origin.layer))


def _share(value: Any, origin: object) -> float | None:
    """A share of the time, written ``1%``; 0 where there is to be no budget."""
    if value is None or value is False:
        return None if value is None else 0.0
    text = value.strip().lower() if isinstance(value, str) else ""
    if isinstance(value, str) and text in _NO:
        return 0.0
    number = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*%", text)
    share = float(number[1]) / 100 if number else 0.0
    if not 0.0 < share < 1.0:
        near = f"did you mean '{value}%'?" if re.fullmatch(r"[\d.]*[1-9][\d.]*", str(value)) else ""
        raise UsageError(
            f"{origin}: budget cannot be {value!r}",
            "it is the share of the time that an observer may take, between 0% and 100%",
            near or "such as:  1%     none:  off",
        )
    return share


def _strings(value: Any, origin: object, word: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    names = [value] if isinstance(value, str) else value
    if isinstance(names, Mapping) or not isinstance(names, Iterable):
        names = [names]
    names = list(names)
    for name in names:
        if not isinstance(name, str):
            raise UsageError(
                f"{origin}: {word} cannot hold {name!r}", f"{word} is a list of plugins' names"
            )
    return tuple(name.strip() for name in names if name.strip())


def _tables(options: Any, origin: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(plugin, its options) of a call's ``options``."""
    for plugin, given in options.items() if isinstance(options, Mapping) else [(options, None)]:
        if not isinstance(plugin, str) or not isinstance(given, Mapping):
            raise UsageError(
                f"{origin} cannot be {options!r}",
                "it maps plugins to their options",
                'such as:  options={"earlystop": {"patience": 3}}',
            )
        yield plugin, given


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for part in text.split(",") if (name := part.strip()))


def flag(text: str, variable: str) -> bool:
    """Read a variable that is on or off."""
    word = text.strip().lower()
    if word in _YES:
        return True
    if word in _NO:
        return False
    raise UsageError(
        f"{variable} cannot be {text!r}", f"it is one of: {', '.join((*_YES, *_NO[1:]))}"
    )


def nearest_pyproject(folder: Path) -> Path | None:
    """The first pyproject.toml at or above the folder."""
    folder = folder.resolve()
    for parent in (folder, *folder.parents):
        file = parent / "pyproject.toml"
        if file.is_file():
            return file
    return None
