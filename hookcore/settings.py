"""Settings: call > command line > environment > pyproject.toml > default, in one frozen object."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from hookcore.layers import (
    FLAGS,
    VARIABLES,
    Added,
    Given,
    Layer,
    Origin,
    ResumeMode,
    Said,
    flag,
    from_call,
    from_command,
    from_environ,
    from_pyproject,
    key,
    nearest_pyproject,
)

__all__ = ["Added", "Given", "Layer", "Origin", "ResumeMode", "Settings", "key", "resolve"]

_BY_HAND = Origin("only", Layer.CALL)


@attrs.frozen
class Settings:
    """What the user asked for. Names are kept as typed; :func:`key` compares them.

    Attributes:
        enabled: False with ``HOOKCORE=0``: nothing is rewritten, no plugin is loaded.
        strict: Raise what is otherwise reported and skipped.
        quiet: Only warnings of our own lines.
        cost: End the run with a table of what each plugin cost.
        budget: Share of the time that an observer's hooks in batches may take, or None.
        resume: None, ``"auto"``, ``"must"`` or ``"weights"``.
        loops: What the user says of loops, by ``FILE:LINE``.
        plugins: Named plugins, in the order in which they were named.
        only: The only plugins to load, or None.
        only_origin: Where ``only`` was typed.
        disable: Name (or ``*``) to where it was switched off.
        options: Plugin's key, then option, to what was given.
        variables: ``HOOKCORE_...`` variables that are no setting of the core.
        file: The pyproject.toml that was read, or None.
    """

    enabled: bool = True
    strict: bool = False
    quiet: bool = False
    cost: bool = False
    budget: float | None = None
    resume: ResumeMode | None = None
    loops: Mapping[str, Given] = attrs.field(factory=dict)
    plugins: tuple[Added, ...] = ()
    only: tuple[str, ...] | None = None
    only_origin: Origin = _BY_HAND
    disable: Mapping[str, Origin] = attrs.field(factory=dict)
    options: Mapping[str, Mapping[str, Given]] = attrs.field(factory=dict)
    variables: Mapping[str, str] = attrs.field(factory=dict)
    file: Path | None = None

    def named(self, name: str) -> Origin | None:
        """Where the user asked for the plugin by name, or None where it only is installed."""
        for added in self.plugins:
            if isinstance(added.item, str) and key(added.item) == key(name):
                return added.origin
        if self.only is not None and key(name) in map(key, self.only):
            return self.only_origin
        return None

    def blocked(self, name: str, *, passed: bool = False) -> str | None:
        """Why the plugin may not be loaded, or None.

        Args:
            name: The plugin's.
            passed: Whether the call passed the object itself, so that only the call blocks it.
        """
        if not self.enabled:
            return "HOOKCORE=0"
        disable = {n: o for n, o in self.disable.items() if not passed or o.layer is Layer.CALL}
        for typed, origin in disable.items():
            if key(typed) == key(name):
                return str(origin)
        if passed or self.named(name):
            return None
        if "*" in disable:
            return str(disable["*"])
        if self.only is not None:
            return f"not in {self.only_origin}"
        return None

    def with_variables(self, known: Iterable[str]) -> Settings:
        """Sort ``HOOKCORE_<PLUGIN>_<OPTION>`` into the options, now that the plugins are known.

        Args:
            known: The plugins' names. The longest that fits owns a variable. Variables that fit
                none stay in :attr:`variables`.
        """
        keys = sorted({key(name) for name in known}, key=len, reverse=True)
        options = {plugin: dict(given) for plugin, given in self.options.items()}
        left = {}
        for variable, value in self.variables.items():
            rest = variable.removeprefix("HOOKCORE_").lower()
            owner = next((k for k in keys if rest.startswith(f"{k}_") and rest != f"{k}_"), None)
            if owner is None:
                left[variable] = value
                continue
            origin = Origin(f"{variable}={value}", Layer.ENVIRONMENT)
            _give(options, owner, rest.removeprefix(f"{owner}_"), Given(value, origin, True))
        return attrs.evolve(self, options=options, variables=left)


def resolve(
    *,
    call: Mapping[str, Any] | None,
    command: Mapping[str, Any] | None,
    environ: Mapping[str, str] | None,
    folder: Path | None,
    caller: str = "instrument",
) -> Settings:
    """Make the settings of one run.

    Args:
        call: ``plugins``, ``only``, ``disable``, ``options``, ``strict``, ``quiet``, ``cost``,
            ``budget``, ``resume``, ``loops`` as given to the call; None means not given.
        command: The same words as typed: ``plugins`` are the texts of ``-p``, ``options`` those of
            ``-o``.
        environ: Usually ``os.environ``.
        folder: Where the search for pyproject.toml begins; None reads none.
        caller: How messages name the call.

    Raises:
        UsageError: Something typed is wrong.
    """
    layers = []
    file = nearest_pyproject(folder) if folder else None
    environ = environ or {}
    if file is not None:
        layers.append(from_pyproject(file))
    layers.append(from_environ(environ))
    layers.append(from_command(command or {}))
    layers.append(from_call(call or {}, caller))
    variables = {
        name: value
        for name, value in environ.items()
        if name.startswith("HOOKCORE_") and name not in VARIABLES
    }
    enabled = switched_on(environ)
    return attrs.evolve(_merge(layers), enabled=enabled, variables=variables, file=file)


def switched_on(environ: Mapping[str, str]) -> bool:
    """Whether hookcore does anything at all: ``HOOKCORE=0`` is the kill switch.

    Raises:
        UsageError: The variable is neither on nor off.
    """
    return flag(environ.get("HOOKCORE") or "1", "HOOKCORE")


def _merge(layers: list[Said]) -> Settings:
    """Lowest first: a later word on a plugin takes the place of an earlier one."""
    flags: dict[str, Any] = {}
    added: dict[Any, Added] = {}
    disable: dict[str, Origin] = {}
    options: dict[str, dict[str, Given]] = {}
    for said in layers:
        flags |= {f: v for f in FLAGS if (v := getattr(said, f)) is not None}
        if said.budget is not None:
            flags["budget"] = said.budget or None
        flags["loops"] = {**flags.get("loops", {}), **said.loops}
        if said.resume is not None:
            flags["resume"] = said.resume or None
        if said.only is not None:
            flags["only"], flags["only_origin"] = said.only
            named = {key(name) for name in said.only[0]}
            disable = {n: o for n, o in disable.items() if n != "*" and key(n) not in named}
            added.clear()
        for on, item, origin in said.switches:
            which = key(item) if isinstance(item, str) else id(item)
            disable = {n: o for n, o in disable.items() if key(n) != which}
            if on:
                added[which] = Added(item, origin)
                continue
            disable[item] = origin
            added.pop(which, None)
            if item == "*":
                added.clear()
        for plugin, option, given in said.options:
            _give(options, key(plugin), option.replace("-", "_"), given)
    return Settings(**flags, plugins=tuple(added.values()), disable=disable, options=options)


def _give(options: dict[str, dict[str, Given]], plugin: str, option: str, given: Given) -> None:
    before = options.setdefault(plugin, {}).get(option)
    if before is None or before.origin.layer <= given.origin.layer:
        options[plugin][option] = given
