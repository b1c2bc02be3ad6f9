from __future__ import annotations

import importlib.metadata
import math
import subprocess
import sys
import time
import types
from dataclasses import dataclass
from typing import ClassVar

import attrs
import pytest

from hookcore.checks import Manager, Refused, declared, hooks_of, kind_of
from hookcore.errors import BrokenPluginWarning, HookcoreWarning, PluginError, UsageError
from hookcore.hookspecs import EVENTS, Hookspecs, hookimpl
from hookcore.order import Cycle, start_order
from hookcore.plugins import about, load
from hookcore.settings import resolve


def plugins(distributions=(), listing=False, **layers):
    words = dict.fromkeys(("call", "command", "environ", "folder")) | layers
    return load(resolve(**words), distributions=distributions, listing=listing)


def statuses(loaded):
    return {record.name: record.status for record in loaded.records}


class Empty:
    @hookimpl
    def on_run_start(self, run):
        pass


@attrs.define(eq=False, kw_only=True)
class Patient:
    """Waits."""

    patience: int = 3

    @hookimpl
    def on_epoch_end(self, run, epoch):
        pass


# -- found ---------------------------------------------------------------------------------


def test_nothing_installed():
    """Without any plugin there is an empty manager, and nobody listens."""
    loaded = plugins()
    assert (loaded.records, loaded.order, loaded.claims) == ((), (), {})
    assert loaded.manager.get_plugins() == set()


def test_installed_means_active(install):
    """A class is instantiated, a module taken as it is; rows are sorted by name."""
    loaded = plugins(install("options", "module", "good"))
    assert statuses(loaded) == {"good": "active", "module": "active", "options": "active"}
    good = loaded.get("good")
    assert (good.distribution, good.version, good.reason) == ("hookcore-good", "1.2.0", "installed")
    assert good.hooks == ("on_run_start", "on_epoch_end")
    assert good.label == "'good' (hookcore-good 1.2.0)"
    assert loaded.manager.get_plugin("good") is good.plugin
    assert isinstance(loaded.get("module").plugin, types.ModuleType)
    assert loaded.get("module").role == "control"
    assert loaded.get("hookcore-good") is good


def test_the_default_is_what_is_installed(install):
    """Without distributions the whole of sys.path is read."""
    install("good")
    loaded = load(resolve(call={"only": ["good"]}, command=None, environ=None, folder=None))
    assert loaded.get("good").status == "active"


def test_a_second_copy_of_a_package_does_not_count(install):
    """The first on sys.path is the one that would be imported."""
    found = install("good")
    assert statuses(plugins([*found, *found])) == {"good": "active"}


def test_two_packages_with_one_name(install):
    """One broken row that names both; neither is imported."""
    with pytest.warns(BrokenPluginWarning, match="could not be loaded"):
        loaded = plugins(install("duplicate_b", "duplicate_a"))
    (row,) = loaded.records
    assert row.status == "broken"
    assert "hookcore-double-a 1.0 and hookcore-double-b 2.0" in row.reason
    assert not {"hookcore_double_a", "hookcore_double_b"} & set(sys.modules)


# -- switched ------------------------------------------------------------------------------

OFF = {
    "-p no:good": {"command": {"plugins": ["no:good"]}},
    "HOOKCORE_DISABLE": {"environ": {"HOOKCORE_DISABLE": "hookcore-good"}},
    "instrument(disable=...)": {"call": {"disable": ["hookcore_good"]}},
    "not in HOOKCORE_ONLY": {"environ": {"HOOKCORE_ONLY": ""}},
    "HOOKCORE=0": {"environ": {"HOOKCORE": "0"}},
}


@pytest.mark.parametrize("reason", OFF)
def test_a_blocked_plugin_is_not_imported(install, reason):
    """Each way of switching off leaves a row that names it, and no import."""
    loaded = plugins(install("good"), **OFF[reason])
    (row,) = loaded.records
    assert (row.status, row.reason, row.hooks, row.plugin) == ("blocked", reason, (), None)
    assert "hookcore_good" not in sys.modules
    assert loaded.order == ()


def test_a_broken_plugin_that_is_blocked_is_silent(install):
    """The way out that the warning names works."""
    loaded = plugins(install("importerror"), command={"plugins": ["no:importerror"]})
    assert statuses(loaded) == {"importerror": "blocked"}


def test_a_waiting_plugin_waits_to_be_named(install):
    """It is imported and listed with its hooks and options, but not made."""
    found = install("waiting")
    (row,) = plugins(found).records
    assert (row.status, row.hooks, row.plugin) == ("waiting", ("on_log",), None)
    assert "-p waiting" in row.reason
    assert [option.name for option in row.options] == ["url"]
    for layers in (
        {"command": {"plugins": ["waiting"]}},
        {"environ": {"HOOKCORE_PLUGINS": "hookcore-waiting"}},
        {"environ": {"HOOKCORE_ONLY": "waiting"}},
    ):
        assert statuses(plugins(found, **layers)) == {"waiting": "active"}
    with pytest.warns(HookcoreWarning, match=r"-o waiting.url=x has no effect"):
        plugins(found, command={"options": ["waiting.url=x"]})


@pytest.mark.parametrize(
    "layers",
    [
        {"command": {"plugins": ["no:god"]}},
        {"environ": {"HOOKCORE_DISABLE": "god"}},
        {"environ": {"HOOKCORE_ONLY": "good,god"}},
        {"call": {"disable": ["god"]}},
    ],
)
def test_switching_off_what_is_not_there_warns(install, layers):
    """A name that matches nothing is no error, and never silent."""
    with pytest.warns(HookcoreWarning, match=r"(?s)'god' matches no plugin.*mean 'good'"):
        loaded = plugins(install("good"), **layers)
    assert statuses(loaded) == {"good": "active"}


@pytest.mark.parametrize(
    ("layers", "origin"),
    [
        ({"command": {"plugins": ["god"]}}, "-p god"),
        ({"environ": {"HOOKCORE_PLUGINS": "god"}}, "HOOKCORE_PLUGINS"),
        ({"call": {"plugins": ["god"]}}, "instrument(plugins=...)"),
    ],
)
def test_naming_what_is_not_there_is_an_error(install, layers, origin):
    """Who asks for a plugin does not want to train without it."""
    with pytest.raises(UsageError) as error:
        plugins(install("good"), **layers)
    for part in (f"there is no plugin 'god' ({origin})", "installed are: good", "mean 'good'"):
        assert part in str(error.value)


# -- options -------------------------------------------------------------------------------


def test_options_reach_the_fields(install, tmp_path):
    """Each layer's option arrives, the highest where several give one."""
    (tmp_path / "pyproject.toml").write_text(
        "[tool.hookcore.options]\npatience = 1\nmin_delta = 2\nnames = ['a', 'b']\n"
    )
    loaded = plugins(
        install("options"),
        folder=tmp_path,
        environ={"HOOKCORE_OPTIONS_PATIENCE": "4", "HOOKCORE_OPTIONS_VERBOSE": "yes"},
        command={"options": ["options.patience=5", "hookcore-options.betas=0.5,0.6"]},
        call={"options": {"options": {"colour": "blue"}}},
    )
    made = loaded.get("options").plugin
    assert (made.patience, made.min_delta, made.names) == (5, 2.0, ["a", "b"])
    assert (made.verbose, made.betas, made.colour.name) == (True, (0.5, 0.6), "BLUE")
    values = {option.name: option.value for option in loaded.get("options").options}
    assert values["patience"] == 5
    assert values["token"] == "(hidden)"


@pytest.mark.parametrize(
    ("layers", "parts"),
    [
        (
            {"command": {"options": ["options.patience=three"]}},
            ["patience = 'three' (-o options.patience=three)", "int, default 10"],
        ),
        ({"command": {"options": ["options.patiense=3"]}}, ["'patiense'", "mean 'patience'"]),
        ({"environ": {"HOOKCORE_OPTIONS_PATIENSE": "3"}}, ["'patiense'", "mean 'patience'"]),
        ({"call": {"options": {"options": {"patience": "3"}}}}, ["'3' is no int"]),
        ({"command": {"options": ["options.patience=0"]}}, ["'patience' must be >= 1: 0"]),
        ({"command": {"options": ["optoins.patience=3"]}}, ["not installed", "mean 'options'"]),
        ({"call": {"options": {"optoins": {"patience": 3}}}}, ["not installed"]),
    ],
)
def test_options_that_are_typed_wrongly(install, layers, parts):
    """Plugin, option, value, what is allowed, the nearest match."""
    with pytest.raises(UsageError) as error:
        plugins(install("options"), **layers)
    for part in parts:
        assert part in str(error.value)


def test_options_for_what_is_not_installed_only_warn_in_a_file(install, tmp_path):
    """The project's file may be read on a machine with fewer plugins."""
    (tmp_path / "pyproject.toml").write_text("[tool.hookcore.optoins]\npatience = 1\n")
    with pytest.warns(HookcoreWarning, match=r"(?s)'optoins', which is not installed.*'options'"):
        plugins(install("options"), folder=tmp_path)


def test_a_variable_that_fits_nothing_warns(install):
    """A slip in a variable's name is seen; it may also be the user's own."""
    with pytest.warns(HookcoreWarning, match=r"(?s)HOOKCORE_DISABEL.*mean 'HOOKCORE_DISABLE'"):
        plugins(install("good"), environ={"HOOKCORE_DISABEL": "good"})


def test_options_of_a_blocked_plugin_are_not_looked_at(install):
    """Switching off also silences a wrong option."""
    command = {"plugins": ["no:options"], "options": ["options.patience=three"]}
    assert statuses(plugins(install("options"), command=command)) == {"options": "blocked"}


# -- passed by the call --------------------------------------------------------------------


def test_an_instance_replaces_the_installed_one(install):
    """By the entry point that its class comes from, whatever the class is called."""
    found = install("options")
    import hookcore_options

    mine = hookcore_options.Options(patience=77)
    loaded = plugins(found, call={"plugins": [mine]}, environ={"HOOKCORE_DISABLE": "options"})
    (row,) = loaded.records
    assert row.plugin is mine
    assert (row.name, row.distribution, row.version) == ("options", "hookcore-options", "2.0")
    assert row.reason == "instrument(plugins=...)"


def test_what_a_call_may_pass(install):
    """Names, classes, instances and modules, each named after itself."""
    module = types.ModuleType("some.hookcore_thing")
    module.on_run_start = hookimpl(lambda run: None)
    named = Empty()
    named.name = "special"
    call = {"plugins": ["good", Patient, Empty(), named, module]}
    loaded = plugins(install("good"), call=call | {"options": {"patient": {"patience": 9}}})
    names = [record.name for record in loaded.records]
    assert names == ["empty", "good", "patient", "special", "thing"]
    assert set(statuses(loaded).values()) == {"active"}
    assert loaded.get("patient").plugin.patience == 9
    assert loaded.get("patient").label == "'patient'"


def test_two_objects_of_one_name():
    """They could not be told apart by any switch."""
    with pytest.raises(UsageError, match="two plugins named 'empty'"):
        plugins(call={"plugins": [Empty(), Empty()]})


def test_options_cannot_reach_an_instance():
    """It is said, as an error where the same call contradicts itself."""
    call = {"plugins": [Patient()]}
    with pytest.raises(UsageError, match="cannot reach plugin 'patient'"):
        plugins(call=call | {"options": {"patient": {"patience": 1}}})
    with pytest.warns(HookcoreWarning, match="cannot reach plugin 'patient'"):
        plugins(call=call, command={"options": ["patient.patience=1"]})


def test_the_call_can_disable_what_it_passes():
    """Off wins within one call."""
    (row,) = plugins(call={"plugins": [Patient()], "disable": ["patient"]}).records
    assert (row.status, row.reason) == ("blocked", "instrument(disable=...)")


@pytest.mark.parametrize("item", [lambda: None, 3, None, print, object()])
def test_what_is_no_plugin(item):
    """A plugin that was asked for and cannot be used ends before the first iteration."""
    with pytest.raises(UsageError, match="could not be loaded"):
        plugins(call={"plugins": [item]})


# -- broken --------------------------------------------------------------------------------

BROKEN = {
    "importerror": ["ModuleNotFoundError: No module named 'a_module_that_is_not_there'"],
    "badhook": [
        "on_epoch_endd is no hook of hookcore",
        "did you mean 'on_epoch_end'?",
        "it requires hookcore>=7,<8; installed is hookcore ",
    ],
    "badargument": ["on_epoch_end has no argument 'epcoh'", "did you mean 'epoch'?"],
    "wrapper": ["on_epoch_end cannot be wrapped"],
    "byvalue": ["Plugin compares by value", "@attrs.define(eq=False, kw_only=True)"],
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_plugin_is_skipped_and_named(install, name):
    """What, why, the way out; the others stay, and nothing of it stays registered."""
    found = install(name, "good")
    with pytest.warns(BrokenPluginWarning) as caught:
        loaded = plugins(found)
    (text,) = [str(warning.message) for warning in caught]
    row = loaded.get(name)
    assert text.startswith(f"hookcore: plugin {row.label} could not be loaded and is skipped\n")
    for part in [*BROKEN[name], f"hookcore run -p no:{name}", f"--traceback {name}"]:
        assert part in text
    assert row.status == "broken"
    assert row.reason.startswith(BROKEN[name][0])
    raised = name == "importerror"  # the others are refused, and where we did so is no news
    assert ("Traceback (most recent call last)" in row.traceback) == raised
    assert row.traceback
    assert [record.name for record in loaded.order] == ["good"]
    assert [n for n, p in loaded.manager.list_name_plugin() if p] == ["good"]
    assert loaded.manager.hook.on_batch_end.get_hookimpls() == []


@pytest.mark.parametrize("name", BROKEN)
def test_strict_raises(install, name):
    """With strict a broken plugin ends it."""
    with pytest.raises(PluginError, match="could not be loaded") as error:
        plugins(install(name), environ={"HOOKCORE_STRICT": "1"})
    assert error.value.__cause__ is not None


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_plugin_that_was_named_is_an_error(install, name):
    """Merely installed and broken is skipped; asked for and broken is not."""
    with pytest.raises(UsageError, match="could not be loaded"):
        plugins(install(name), command={"plugins": [name]})


def test_a_list_of_plugins_never_raises(install):
    """What is wrong becomes a row, or a warning where no row can hold it."""
    layers = {"command": {"plugins": ["importerror"], "options": ["options.patience=three"]}}
    loaded = plugins(install("importerror", "options"), listing=True, **layers)
    assert statuses(loaded) == {"importerror": "broken", "options": "broken"}
    assert "patience = 'three'" in loaded.get("options").reason
    with pytest.warns(HookcoreWarning, match="there is no plugin 'x'"):
        plugins(listing=True, command={"plugins": ["x"]})


def test_a_plugin_that_needs_an_option():
    """Without a default it cannot be made; the option to type is named."""

    @attrs.define(eq=False, kw_only=True)
    class Needy:
        url: str

        @hookimpl
        def on_run_start(self):
            pass

    with pytest.raises(UsageError, match=r"-o needy\.url="):
        plugins(call={"plugins": [Needy]})


# -- checks --------------------------------------------------------------------------------


def with_hook(function, name="on_epoch_end", **options):
    return type("Plugin", (), {name: hookimpl(**options)(function)})()


def generator():
    def hook(self, epoch):
        yield

    return hook


async def coroutine(self, epoch):
    pass


@pytest.mark.parametrize(
    ("plugin", "message"),
    [
        (with_hook(lambda self, epoch=0: None), "has a default: epoch=0"),
        (with_hook(lambda self, *args: None), r"takes \*args"),
        (with_hook(lambda self, **rest: None), r"takes \*\*rest"),
        (with_hook(lambda self, *, epoch: None), "keyword-only argument: epoch"),
        (with_hook(generator()), "generator or async"),
        (with_hook(coroutine), "generator or async"),
        (with_hook(generator(), wrapper=True), "cannot be wrapped"),
        (with_hook(generator(), hookwrapper=True), "cannot be wrapped"),
        (with_hook(lambda self: None, name="on_nothing"), "on_nothing is no hook"),
        (with_hook(lambda self, x: None, name="f", specname="on_epoch_end"), "no argument 'x'"),
        (type("Plugin", (), {"on_epoch_end": lambda self: None})(), "is not marked as a hook"),
        (object(), "implements no hook"),
    ],
)
def test_hooks_that_break_the_contract(plugin, message):
    """Each is refused with its reason before pluggy sees it."""
    with pytest.raises(Refused, match=message):
        hooks_of(plugin)


def test_hooks_that_keep_the_contract():
    """Static, by another name, or of a newer hookcore where marked as optional."""
    static = staticmethod(hookimpl(lambda epoch, run: None))
    assert hooks_of(type("Plugin", (), {"on_epoch_end": static})()) == ("on_epoch_end",)
    assert hooks_of(with_hook(lambda self, run: None, name="f", specname="on_epoch_end")) == (
        "on_epoch_end",
    )
    newer = with_hook(lambda self, x: None, name="on_future", optionalhook=True)
    newer.__class__.on_run_start = Empty.on_run_start
    assert hooks_of(newer) == ("on_run_start",)
    assert statuses(plugins(call={"plugins": [newer]})) == {"plugin": "active"}


def test_properties_and_unset_slots_are_left_alone():
    """Pluggy 1.6 would run the one and stumble over the other."""

    @attrs.define(eq=False)
    class Plugin:
        state: int = attrs.field(init=False)

        @property
        def costly(self):
            raise RuntimeError

        @hookimpl
        def on_run_start(self):
            pass

    loaded = plugins(call={"plugins": [Plugin]}, listing=True)
    assert statuses(loaded) == {"plugin": "active"}


def test_plugins_compare_by_identity():
    """Each decorator gets its own advice."""

    @dataclass
    class Data:
        x: int = 0

    class Own:
        def __eq__(self, other):
            return True

        __hash__ = None

    for cls, advice in ((Data, r"@dataclass\(eq=False\)"), (Own, "leave out __eq__")):
        with pytest.raises(Refused, match=advice):
            kind_of(cls)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"role": "controll"}, "mean 'control'"),
        ({"before": 3}, "before cannot be 3"),
        ({"claims": (1,)}, "claims cannot be"),
        ({"every": {"on_batch_endd": 3}}, "did you mean 'on_batch_end'"),
        ({"every": {"on_batch_end": 0}}, "a whole number from 1 on"),
        ({"every": {"on_batch_end": 1.5}}, "a whole number from 1 on"),
        ({"at_most_every": {"on_batch_end": True}}, "a number of seconds over 0"),
        ({"at_most_every": {"on_batch_end": math.inf}}, "cannot be inf"),
        ({"at_most_every": {"on_batch_end": math.nan}}, "cannot be nan"),
        ({"every": 50}, "maps events"),
        ({"autoload": "no"}, "autoload cannot be 'no'"),
    ],
)
def test_declarations_that_make_no_sense(words, message):
    """They are refused, not ignored."""
    with pytest.raises(Refused, match=message):
        declared(type("Plugin", (), words))


def test_declarations():
    """A lone name is a tuple of one; an annotated one must be a ClassVar."""

    class Plugin:
        claims = "lr"
        before = ("a", "b")
        at_most_every: ClassVar = {"on_batch_end": 0.5}

    words = declared(Plugin())
    assert (words.claims, words.before, words.role) == (("lr",), ("a", "b"), "observe")
    assert words.at_most_every == {"on_batch_end": 0.5}

    @attrs.define(eq=False)
    class Annotated:
        role: str = "control"

    with pytest.raises(Refused, match="ClassVar"):
        declared(Annotated)


def test_no_event_is_historic():
    """A historic hook keeps its arguments for ever: a model, its memory."""
    manager = Manager()
    assert not [name for name in EVENTS if getattr(manager.hook, name).is_historic()]
    assert len(EVENTS) < len([name for name in vars(Hookspecs) if not name.startswith("_")])


# -- order and claims ----------------------------------------------------------------------


def made(name, **words):
    return type(name, (), {"name": name, "on_run_start": Empty.on_run_start, **words})()


def test_order_is_declared_then_by_name():
    """Before and after in any spelling; pluggy's own order of calls is the same."""
    items = [made("a", after="hookcore-d"), made("b"), made("c", before=("b", "absent")), made("d")]
    loaded = plugins(call={"plugins": items})
    names = [record.name for record in loaded.order]
    assert names == ["c", "b", "d", "a"]
    called = [impl.plugin_name for impl in loaded.manager.hook.on_run_start.get_hookimpls()]
    assert called[::-1] == names


def test_a_circle_breaks_who_declares_most_of_it():
    """One row is broken and says the circle; the others keep their order."""
    items = [made("a"), made("b"), made("x", before="a", after="b"), made("y", after="a")]
    items[0].before = ("b",)
    loaded = plugins(call={"plugins": items}, listing=True)
    assert statuses(loaded) == {"a": "active", "b": "active", "x": "broken", "y": "active"}
    assert "a before b before x before a" in loaded.get("x").reason
    assert [record.name for record in loaded.order] == ["a", "b", "y"]
    with pytest.raises(UsageError, match="its order is a circle"):
        plugins(call={"plugins": items})


def test_start_order_by_itself():
    """A plugin that waits for itself waits for nobody."""
    assert start_order({}) == []
    assert start_order({"b": ((), ()), "a": (("a",), ("a",))}) == ["a", "b"]
    with pytest.raises(Cycle) as error:
        start_order({"a": (("b",), ()), "b": (("a",), ()), "c": ((), ("a",))})
    assert error.value.culprit == "b"


def test_claims_go_to_the_first():
    """The others are listed; they stand down."""
    items = [made("b", claims=("lr", "terminal")), made("c", claims="lr"), made("a", claims="lr")]
    loaded = plugins(call={"plugins": items})
    assert loaded.claims == {"lr": "a", "terminal": "b"}
    assert loaded.rivals == {"lr": ("b", "c")}


# -- the rest ------------------------------------------------------------------------------


def test_about(install):
    """Its own words, else its docstring's first line, else what it listens to."""

    class Speaks(Empty):
        def about(self, run):
            return f"watches {run}"

    call = {"plugins": [Speaks, Empty, Patient]}
    loaded = plugins(install("module"), call=call)
    words = {record.name: about(record, "r") for record in loaded.order}
    assert words == {
        "empty": "listens to on_run_start",
        "module": "A plugin that is a module",
        "patient": "Waits",
        "speaks": "watches r",
    }


def test_discovery_is_quick():
    """A scan of what is installed here stays far below the time of an import."""
    settings = resolve(call={"only": []}, command=None, environ=None, folder=None)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        load(settings)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.5, (times, len(list(importlib.metadata.distributions())))


def test_a_plugin_s_own_package_name_decides_nothing(tmp_path, monkeypatch):
    """Ten lines outside this repository are found: any package, any module, any name."""
    info = tmp_path / "acme_monitors-3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-monitors\nVersion: 3\n")
    (info / "entry_points.txt").write_text("[hookcore]\nMy-Loss = acme_monitors_x:plugin\n")
    (tmp_path / "acme_monitors_x.py").write_text(
        "from hookcore.hookspecs import hookimpl\n"
        "class P:\n"
        "    @hookimpl\n"
        "    def on_log(self, metrics): pass\n"
        "plugin = P()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    found = list(importlib.metadata.distributions(path=[str(tmp_path)]))
    assert plugins(found).get("my_loss").status == "active"
    row = plugins(found, command={"plugins": ["no:my-loss"]}).records[0]
    assert (row.name, row.status, row.distribution) == ("My-Loss", "blocked", "acme-monitors")
    del sys.modules["acme_monitors_x"]


def test_the_warning_is_seen_without_any_filter(child):
    """Python's default filters show it, once a run."""
    code = (
        "from hookcore.plugins import load\n"
        "from hookcore.settings import Settings\n"
        "load(Settings())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=child("importerror"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr.count("could not be loaded and is skipped") == 1
