"""What makes an object a plugin: its hooks keep to the contract, its declarations make sense."""

from __future__ import annotations

import dataclasses
import inspect
import math
import types
from collections.abc import Callable, Mapping
from typing import Any, Literal

import attrs
import pluggy

from hookcore.errors import HookcoreError
from hookcore.hookspecs import EVENTS, PROJECT, Hookspecs
from hookcore.layers import nearest
from hookcore.options import fields

Role = Literal["observe", "control", "persist"]

_DECLARED = ("role", "before", "after", "claims", "every", "at_most_every", "autoload")
_HOOKS = tuple(name for name in vars(Hookspecs) if not name.startswith("_"))


class Refused(HookcoreError):
    """An object is no plugin, and why."""


@attrs.frozen
class Declared:
    """What a plugin's class attributes declare.

    Attributes:
        role: What it does to a run.
        before: Plugins that start after it.
        after: Plugins that start before it.
        claims: Resources of which one plugin at a time has the say.
        every: Event to n: only each n-th one is wanted, counted through the run and its resumes.
        at_most_every: Event to the seconds that lie between two at least.
        autoload: Whether being installed is enough.
    """

    role: Role = "observe"
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()
    every: Mapping[str, int] = attrs.field(factory=dict)
    at_most_every: Mapping[str, float] = attrs.field(factory=dict)
    autoload: bool = True


class Manager(pluggy.PluginManager):
    """pluggy's manager, with our specs; it does not run a plugin's properties to look for hooks."""

    def __init__(self) -> None:
        super().__init__(PROJECT)
        self.add_hookspecs(Hookspecs)

    def parse_hookimpl_opts(self, plugin: object, name: str) -> Any:
        """The options of a hook, or None where the attribute is none."""
        static = inspect.getattr_static(plugin, name, None)
        if not (inspect.isroutine(static) or isinstance(static, (staticmethod, classmethod))):
            return None
        return super().parse_hookimpl_opts(plugin, name)


def declared(plugin: Any) -> Declared:
    """Read what a plugin, or its class, declares.

    Raises:
        Refused: A declaration makes no sense.
    """
    cls = plugin if inspect.isclass(plugin) else type(plugin)
    for word in _DECLARED:
        if word in fields(cls):
            raise Refused(
                f"{word} is declared as an option",
                way_out=f"annotate it:  {word}: ClassVar[...] = ...",
            )
    words = {word: getattr(plugin, word) for word in _DECLARED if hasattr(plugin, word)}
    for word in ("before", "after", "claims"):
        names = words.get(word, ())
        names = (names,) if isinstance(names, str) else names  # ("lr") is no tuple
        if not isinstance(names, (tuple, list)) or not all(isinstance(n, str) for n in names):
            raise Refused(f"{word} cannot be {names!r}", "it is a tuple of names")
        words[word] = tuple(names)
    role = words.setdefault("role", "observe")
    if role not in ("observe", "control", "persist"):
        near = nearest(str(role), ("observe", "control", "persist"))
        raise Refused(f"role cannot be {role!r}", "it is observe, control or persist", near)
    for word, kinds in (("every", (int,)), ("at_most_every", (int, float))):
        rates = words.get(word, {})
        if not isinstance(rates, Mapping):
            raise Refused(f"{word} cannot be {rates!r}", "it maps events to numbers")
        for event, rate in rates.items():
            if event not in EVENTS:
                raise Refused(f"{word} names no event: {event!r}", nearest(str(event), EVENTS))
            if (
                not isinstance(rate, kinds)
                or isinstance(rate, bool)
                or not 0 < rate < math.inf
            ):
                kind = "whole number from 1 on" if word == "every" else "number of seconds over 0"
                raise Refused(f"{word}[{event!r}] cannot be {rate!r}", f"it is a {kind}")
    if not isinstance(words.get("autoload", True), bool):
        raise Refused(f"autoload cannot be {words['autoload']!r}", "it is True or False")
    return Declared(**words)


def kind_of(plugin: Any) -> None:
    """Refuse what is neither class, module nor instance, and what compares by value."""
    if isinstance(plugin, (types.FunctionType, types.BuiltinFunctionType, str)):
        raise Refused(
            f"{plugin!r} is no plugin", "a plugin is a class, a module or an instance of a class"
        )
    cls = plugin if inspect.isclass(plugin) else type(plugin)
    if cls.__eq__ is not object.__eq__:
        decorator = "@attrs.define(eq=False, kw_only=True)" if attrs.has(cls) else "its class"
        if dataclasses.is_dataclass(cls):
            decorator = "@dataclass(eq=False)"
        raise Refused(
            f"{cls.__name__} compares by value, a plugin must compare by identity",
            "attrs and dataclasses write an __eq__ that drops the hash; pluggy needs both",
            f"declare {decorator}" if decorator != "its class" else "leave out __eq__",
        )


def hooks_of(plugin: Any) -> tuple[str, ...]:
    """The hooks that a plugin (or its class) implements, in the order of the contract.

    Raises:
        Refused: A hook is not as the contract says.
    """
    manager = Manager()
    found: set[str] = set()
    for name in dir(plugin):
        opts = manager.parse_hookimpl_opts(plugin, name)
        if opts is not None:
            hook = opts.get("specname") or name
            _check_hook(hook, opts)
            if hook in _HOOKS and not inspect.isclass(plugin):
                _check_function(getattr(plugin, name), hook)
            found.add(hook)
    if not found:
        unmarked = [name for name in _HOOKS if inspect.getattr_static(plugin, name, None)]
        what = f"{unmarked[0]} is not marked as a hook" if unmarked else "it implements no hook"
        raise Refused(what, "only marked functions are called", "write @hookcore.hookimpl above")
    return tuple(name for name in _HOOKS if name in found)


def validate(plugin: Any, name: str) -> None:
    """Register with a manager that is thrown away: a refusal leaves nothing half registered.

    pluggy 1.6 keeps a plugin's valid hooks active when a later one is refused.
    """
    manager = Manager()
    manager.register(plugin, name)
    manager.check_pending()


def _check_hook(hook: str, opts: Mapping[str, Any]) -> None:
    if hook not in _HOOKS and not opts.get("optionalhook"):
        raise Refused(
            f"{hook} is no hook of hookcore",
            way_out=nearest(hook, _HOOKS) or "the hooks:  hookcore.hookspecs",
        )
    if hook in EVENTS and (opts.get("wrapper") or opts.get("hookwrapper")):
        raise Refused(
            f"{hook} cannot be wrapped",
            "events are delivered to each plugin alone; one plugin does not run inside another",
            "leave out wrapper=True; use tryfirst or trylast where order matters",
        )


def _check_function(function: Callable[..., Any], hook: str) -> None:
    if inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function):
        raise Refused(f"{hook} is a generator or async", "nobody would run it", "use plain def")
    known = tuple(inspect.signature(getattr(Hookspecs, hook)).parameters)[1:]
    for parameter in inspect.signature(function).parameters.values():
        _check_parameter(parameter, hook, known)


def _check_parameter(parameter: inspect.Parameter, hook: str, known: tuple[str, ...]) -> None:
    written = str(parameter.replace(annotation=inspect.Parameter.empty))
    signature = f"{hook}({', '.join(known)})"
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        raise Refused(
            f"{hook} takes {written}",
            "it would stay empty: a hook receives the arguments that it names",
            f"name what you use of {signature}",
        )
    if parameter.name not in known:
        raise Refused(
            f"{hook} has no argument {parameter.name!r}",
            f"the contract says {signature}",
            nearest(parameter.name, known),
        )
    if parameter.default is not parameter.empty:
        raise Refused(
            f"{hook} has a default: {written}",
            "pluggy 1.6 would always pass the default",
            f"write {parameter.name} alone",
        )
    if parameter.kind is parameter.KEYWORD_ONLY:
        raise Refused(
            f"{hook} has a keyword-only argument: {parameter.name}",
            "hooks are called by position",
            "leave out the *",
        )
