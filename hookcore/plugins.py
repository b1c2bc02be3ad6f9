"""Plugins: discover, sort, block, load, validate; one record a plugin, whatever became of it."""

from __future__ import annotations

import importlib.metadata
import inspect
import traceback
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import attrs

from hookcore.checks import Declared, Manager, Refused, Role, declared, hooks_of, kind_of, validate
from hookcore.discovery import Found, core_version, discover
from hookcore.errors import BrokenPluginWarning, PluginError, UsageError
from hookcore.hookspecs import PROJECT
from hookcore.layers import VARIABLES, Added, Layer, key, nearest, warn
from hookcore.options import OptionRecord, build, describe
from hookcore.order import Cycle, start_order
from hookcore.settings import Settings

if TYPE_CHECKING:
    from hookcore.training import Run

__all__ = ["OptionRecord", "PluginRecord", "Plugins", "Status", "about", "load"]

Status = Literal["active", "blocked", "broken", "waiting"]


@attrs.frozen(eq=False, kw_only=True)
class PluginRecord:
    """What became of one plugin.

    Attributes:
        name: Its entry point's, or that of the object which the call passed.
        distribution: The pip package; empty for an object that belongs to none.
        version: Of the distribution.
        status: ``active``, ``blocked`` (switched off, not imported), ``broken`` or ``waiting``
            (``autoload = False``, and nobody named it).
        reason: Why it has this status.
        hooks: Names, in the order of the contract.
        options: Its options, with values where it is active.
        declared: What its class declares.
        plugin: The object that receives the events, where it is active.
        traceback: As text, where it is broken by an exception; else the whole refusal.
    """

    name: str
    distribution: str = ""
    version: str = ""
    status: Status
    reason: str = ""
    hooks: tuple[str, ...] = ()
    options: tuple[OptionRecord, ...] = ()
    declared: Declared = attrs.field(factory=Declared)
    plugin: Any = None
    traceback: str = ""

    @property
    def label(self) -> str:
        """Name, distribution and version, as messages give them."""
        package = f"{self.distribution} {self.version}".strip()
        return f"{self.name!r} ({package})" if package else repr(self.name)

    @property
    def role(self) -> Role:
        """What it does to a run: observe, control or persist."""
        return self.declared.role

    @property
    def claims(self) -> tuple[str, ...]:
        """Resources of which one plugin at a time has the say."""
        return self.declared.claims

    @property
    def every(self) -> Mapping[str, int]:
        """Event to n: only each n-th one is wanted."""
        return self.declared.every

    @property
    def at_most_every(self) -> Mapping[str, float]:
        """Event to the seconds that lie between two at least."""
        return self.declared.at_most_every

    @property
    def autoload(self) -> bool:
        """Whether being installed is enough."""
        return self.declared.autoload


@attrs.frozen(eq=False)
class Plugins:
    """The plugins of one run.

    Attributes:
        manager: pluggy's manager, with the active plugins registered by name.
        records: One for each plugin found or passed, by name.
        order: The active ones, in the order in which starts reach them.
        claims: Resource to the plugin that holds it: the first in that order.
        rivals: Resource to the plugins that stand down.
    """

    manager: Manager
    records: tuple[PluginRecord, ...]
    order: tuple[PluginRecord, ...]
    claims: Mapping[str, str]
    rivals: Mapping[str, tuple[str, ...]]

    def get(self, name: str) -> PluginRecord | None:
        """The record of a plugin, in any of its three spellings."""
        return next((record for record in self.records if key(record.name) == key(name)), None)


def load(
    settings: Settings,
    *,
    distributions: Iterable[importlib.metadata.Distribution] | None = None,
    listing: bool = False,
) -> Plugins:
    """Find the plugins and make those that the settings allow.

    Args:
        settings: What the user asked for.
        distributions: Where to look; all that are installed by default.
        listing: For a table of the plugins: whatever is wrong becomes a row or a warning.

    Raises:
        UsageError: Something typed is wrong, or a plugin that was named is broken.
        PluginError: An installed plugin is broken, and the settings are strict.
    """
    return _Loader(settings, discover(distributions), listing).load()


def about(record: PluginRecord, run: Run) -> str:
    """What an active plugin is about to do: its own words, else its docstring's first line."""
    own = getattr(record.plugin, "about", None)
    if callable(own):
        return str(own(run))
    holder = record.plugin if inspect.ismodule(record.plugin) else type(record.plugin)
    lines = (holder.__doc__ or "").strip().splitlines()
    return lines[0].rstrip(".") if lines else f"listens to {', '.join(record.hooks)}"


class _Loader:
    def __init__(self, settings: Settings, found: list[Found], listing: bool) -> None:
        self._found = {key(one.name): one for one in found}
        self._listing = listing
        self._passed = self._name_passed(settings.plugins)
        names = {one.name for one in found} | {name for name, _ in self._passed.values()}
        self._names = sorted(names, key=lambda name: (key(name), name))
        self._settings = settings.with_variables(self._names)
        self._records: dict[str, PluginRecord] = {}

    def load(self) -> Plugins:
        if self._settings.enabled:
            self._check_names()
        for name in self._names:
            if key(name) not in self._records:
                self._records[key(name)] = self._record(name)
        order = self._order()
        manager = Manager()
        for record in reversed(order):  # pluggy calls the last registered first
            manager.register(record.plugin, record.name)
        holders: dict[str, str] = {}
        rivals: dict[str, tuple[str, ...]] = {}
        for record in order:
            for resource in record.claims:
                if holders.setdefault(resource, record.name) != record.name:
                    rivals[resource] = (*rivals.get(resource, ()), record.name)
        return Plugins(manager, tuple(self._records.values()), order, holders, rivals)

    def _name_passed(self, plugins: Sequence[Added]) -> dict[str, tuple[str, Added]]:
        """Passed objects by key: an object's name is its entry point's, its own, or its class's."""
        passed: dict[str, tuple[str, Added]] = {}
        for added in plugins:
            if isinstance(added.item, str):
                continue
            name = next((f.name for f in self._found.values() if f.stands_for(added.item)), None)
            name = name or _own_name(added.item)
            if key(name) in passed:
                raise UsageError(
                    f"{added.origin} holds two plugins named {name!r}",
                    "a plugin is switched and configured by its name",
                    "give one of them another:  name = '...' in its class",
                )
            passed[key(name)] = (name, added)
        return passed

    # -- what the user typed ---------------------------------------------------------------

    def _check_names(self) -> None:
        settings, known = self._settings, set(map(key, self._names))
        installed = f"installed are: {', '.join(self._names) or 'none'}"
        for added in settings.plugins:
            if isinstance(added.item, str) and key(added.item) not in known:
                self._wrong(
                    UsageError(
                        f"there is no plugin {added.item!r} ({added.origin})",
                        installed,
                        nearest(added.item, self._names) or "all plugins:  hookcore plugins",
                    )
                )
        blocks = dict(settings.disable)
        blocks |= dict.fromkeys(settings.only or (), settings.only_origin)
        for name, origin in blocks.items():
            if name != "*" and key(name) not in known:
                near = nearest(name, self._names)
                warn(f"{origin}: {name!r} matches no plugin", installed, near)
        for plugin, given in settings.options.items():
            if plugin in known:
                continue
            for option, typed in given.items():
                what = f"option {option!r} is for {plugin!r}, which is not installed"
                near = nearest(plugin, self._names)
                error = UsageError(f"{what} ({typed.origin})", installed, near)
                # A project's file may serve machines that have fewer plugins.
                if typed.origin.layer is Layer.PYPROJECT:
                    warn(error.what, error.why, error.way_out)
                else:
                    self._wrong(error)
        for variable in settings.variables:
            near = nearest(variable, [*VARIABLES, *(f"HOOKCORE_{k.upper()}_" for k in known)])
            warn(f"the variable {variable} fits no plugin and no setting", installed, near)

    def _wrong(self, error: UsageError) -> None:
        if not self._listing:
            raise error
        warn(error.what, error.why, error.way_out)

    # -- one plugin ------------------------------------------------------------------------

    def _record(self, name: str) -> PluginRecord:
        found = self._found.get(key(name))
        _, added = self._passed.get(key(name), (name, None))
        blank = PluginRecord(name=name, status="broken")
        if found and len(found.points) == 1:
            _, distribution, version, _ = found.points[0]
            blank = attrs.evolve(blank, distribution=distribution, version=version)
        if reason := self._settings.blocked(name, passed=added is not None):
            return attrs.evolve(blank, status="blocked", reason=reason)
        try:
            if added is not None:
                return self._make(blank, added.item, str(added.origin), passed=True)
            assert found is not None
            return self._make(blank, found.load(), self._reason(name), passed=False)
        except UsageError as error:
            typed = self._settings.options.get(key(name)) or self._settings.named(name)
            if (typed or added) and not self._listing:
                raise
            return self._broken(blank, error)
        except Exception as error:  # noqa: BLE001 - any plugin may fail at import, in any way
            return self._broken(blank, error)

    def _make(self, blank: PluginRecord, item: Any, reason: str, *, passed: bool) -> PluginRecord:
        kind_of(item)
        words = declared(item)
        named = passed or self._settings.named(blank.name) is not None
        given = self._settings.options.get(key(blank.name), {})
        if not words.autoload and not named:
            for typed in given.values():
                if typed.origin.layer > Layer.ENVIRONMENT:
                    warn(
                        f"{typed.origin} has no effect",
                        f"plugin {blank.label} waits to be named",
                        f"name it:  -p {blank.name}",
                    )
            return attrs.evolve(
                blank,
                status="waiting",
                reason=f"autoload = False; name it:  -p {blank.name}",
                hooks=hooks_of(item),
                options=describe(item),
                declared=words,
            )
        if passed and not isinstance(item, type):
            self._refuse_options(blank.name)
            given = {}
        plugin = build(item, given, blank.name)
        hooks = hooks_of(plugin)
        validate(plugin, blank.name)
        return attrs.evolve(
            blank,
            status="active",
            reason=reason,
            hooks=hooks,
            options=describe(plugin),
            declared=declared(plugin),
            plugin=plugin,
        )

    def _refuse_options(self, name: str) -> None:
        """An instance has its options; what else was typed for it cannot reach it."""
        for option, typed in self._settings.options.get(key(name), {}).items():
            error = UsageError(
                f"option {option!r} cannot reach plugin {name!r} ({typed.origin})",
                "the call passes an instance, made with its own options",
                "pass the class, or its name, instead of the instance",
            )
            if typed.origin.layer is Layer.CALL:
                raise error
            if typed.origin.layer > Layer.PYPROJECT:
                warn(error.what, error.why, error.way_out)

    def _reason(self, name: str) -> str:
        origin = self._settings.named(name)
        return f"named by {origin}" if origin else "installed"

    def _broken(self, blank: PluginRecord, error: Exception) -> PluginRecord:
        name = blank.name
        lines = traceback.format_exception_only(error)
        why, text = "".join(lines).strip(), "".join(traceback.format_exception(error))
        hint = ""
        if isinstance(error, (Refused, UsageError)):
            text = str(error)  # where in our own code it was found tells nobody anything
            why = "\n".join(filter(None, (error.what, error.why)))
            hint = f"{error.way_out}\n" if error.way_out else ""
            for _, _, _, requires in (
                self._found[key(name)].points if key(name) in self._found else ()
            ):
                why += "".join(
                    f"\nit requires {r}; installed is {PROJECT} {core_version()}" for r in requires
                )
        out = f"{hint}switch it off:  hookcore run -p no:{name} ..."
        out += f"     see why:  hookcore plugins --traceback {name}"
        what = f"plugin {blank.label} could not be loaded"
        added = key(name) in self._passed
        if not self._listing:
            if added or self._settings.named(name):
                raise UsageError(what, why, out) from error
            if self._settings.strict:
                raise PluginError(what, why, out) from error
            warn(f"{what} and is skipped", why, out, BrokenPluginWarning)
        reason = "; ".join(filter(None, (why.partition("\n")[0], hint.strip())))
        return PluginRecord(
            name=name,
            distribution=blank.distribution,
            version=blank.version,
            status="broken",
            reason=reason,
            traceback=text,
        )

    # -- order -----------------------------------------------------------------------------

    def _order(self) -> tuple[PluginRecord, ...]:
        """A plugin that closes a cycle is broken; the others keep their order."""
        while True:
            active = {k: r for k, r in self._records.items() if r.status == "active"}
            try:
                order = start_order(
                    {k: (r.declared.before, r.declared.after) for k, r in active.items()}
                )
            except Cycle as cycle:
                record = active[cycle.culprit]
                error = Refused(
                    f"its order is a circle: {' before '.join(cycle.path)}",
                    way_out="change its before or after",
                )
                self._records[cycle.culprit] = self._broken(record, error)
            else:
                return tuple(active[k] for k in order)


def _own_name(item: Any) -> str:
    cls = item if isinstance(item, type) else type(item)
    own = getattr(item, "name", None)
    if isinstance(own, str) and own and "name" not in getattr(cls, "__attrs_attrs__", ()):
        return own
    return key(getattr(item, "__name__", cls.__name__).rpartition(".")[2])
