from __future__ import annotations

from pathlib import Path

import pytest

from hookcore.errors import HookcoreWarning, UsageError
from hookcore.settings import Layer, Settings, key, resolve


def settings(call=None, command=None, environ=None, folder=None, **rest):
    return resolve(call=call, command=command, environ=environ, folder=folder, **rest)


def given(settings, plugin, option):
    one = settings.options[plugin][option]
    return one.value, str(one.origin), one.is_text


@pytest.fixture
def project(tmp_path):
    """Writes a pyproject.toml and gives a folder two levels below it."""

    def write(text):
        (tmp_path / "pyproject.toml").write_text(text)
        folder = tmp_path / "src" / "deep"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    return write


def test_defaults():
    """Without a word from anybody, everything installed is on and nothing is strict."""
    assert settings() == Settings()
    assert settings().enabled


@pytest.mark.parametrize("name", ["early-stop", "early_stop", "hookcore-early-stop", "EARLY_STOP "])
def test_one_plugin_has_three_spellings(name):
    """Distribution, module and entry point name the same plugin."""
    assert key(name) == "early_stop"


@pytest.mark.parametrize(
    ("typed", "share"), [("1%", 0.01), ("0.5 %", 0.005), (".5%", 0.005), ("99%", 0.99)]
)
def test_a_budget_is_a_share(project, typed, share):
    """Written with a percent sign, in all four places."""
    assert settings(call={"budget": typed}).budget == pytest.approx(share)
    assert settings(command={"budget": typed}).budget == pytest.approx(share)
    assert settings(environ={"HOOKCORE_BUDGET": typed}).budget == pytest.approx(share)
    folder = project(f'[tool.hookcore]\nbudget = "{typed}"\n')
    assert settings(folder=folder).budget == pytest.approx(share)


@pytest.mark.parametrize("none", ["off", "0", "", "no"])
def test_a_budget_can_be_taken_back(project, none):
    """By a higher layer than the one that set it."""
    folder = project('[tool.hookcore]\nbudget = "1%"\n')
    assert settings(folder=folder, environ={"HOOKCORE_BUDGET": none}).budget is None
    assert settings(folder=folder, command={"budget": none}).budget is None
    assert settings(folder=folder, call={"budget": False}).budget is None


@pytest.mark.parametrize(
    "wrong", ["1", "0%", "100%", "-1%", "1e-2", "nan%", "inf%", "a lot", "%", "1%%", 0.01, True, []]
)
def test_a_wrong_budget_is_named(wrong):
    """What is no share of the time, with what it is, and an example."""
    with pytest.raises(UsageError) as caught:
        settings(call={"budget": wrong})
    assert caught.value.what == f"instrument(budget=...): budget cannot be {wrong!r}"
    assert caught.value.why
    assert "%" in caught.value.way_out


def test_a_share_without_its_sign_is_guessed():
    """The nearest thing that can be typed is offered."""
    with pytest.raises(UsageError, match="did you mean '2%'"):
        settings(command={"budget": "2"})


def test_cost_is_a_flag(project):
    """Like the others: on in one place, off in a higher one."""
    folder = project("[tool.hookcore]\ncost = true\n")
    assert settings(folder=folder).cost
    assert not settings(folder=folder, environ={"HOOKCORE_COST": "0"}).cost
    assert settings(environ={"HOOKCORE_COST": "0"}, command={"cost": True}).cost


LAYERS = {
    Layer.PYPROJECT: "[tool.hookcore.x] in pyproject.toml",
    Layer.ENVIRONMENT: "HOOKCORE_X_N=2",
    Layer.COMMAND: "-o x.n=3",
    Layer.CALL: "instrument(options=...)",
}


@pytest.mark.parametrize("highest", LAYERS, ids=lambda layer: layer.name.lower())
def test_the_highest_layer_wins(project, highest):
    """The call beats the command line, which beats the environment, which beats the file."""
    folder = project("[tool.hookcore.x]\nn = 1\n")
    made = settings(
        folder=folder,
        environ={"HOOKCORE_X_N": "2"} if highest >= Layer.ENVIRONMENT else {},
        command={"options": ["x.n=3"]} if highest >= Layer.COMMAND else {},
        call={"options": {"x": {"n": 4}}} if highest >= Layer.CALL else {},
    ).with_variables(["x"])
    value, origin, is_text = given(made, "x", "n")
    assert int(value) == highest
    assert origin == LAYERS[highest]
    assert is_text == (highest in (Layer.ENVIRONMENT, Layer.COMMAND))


@pytest.mark.parametrize("word", ["strict", "quiet"])
def test_flags_by_layer(project, word):
    """A higher layer can switch a flag off as well as on."""
    folder = project(f"[tool.hookcore]\n{word} = true\n")
    variable = f"HOOKCORE_{word.upper()}"
    assert getattr(settings(folder=folder), word)
    assert not getattr(settings(folder=folder, environ={variable: "no"}), word)
    assert getattr(settings(environ={variable: "0"}, command={word: True}), word)
    assert not getattr(settings(command={word: True}, call={word: False}), word)
    with pytest.raises(UsageError, match=f"{variable} cannot be 'maybe'"):
        settings(environ={variable: "maybe"})
    with pytest.raises(UsageError, match="true or false"):
        settings(call={word: 1})


@pytest.mark.parametrize(
    ("text", "enabled"), [("0", False), ("off", False), ("1", True), ("", True), (None, True)]
)
def test_the_kill_switch(text, enabled):
    """HOOKCORE=0 switches everything off, and with it each plugin."""
    made = settings(environ={} if text is None else {"HOOKCORE": text})
    assert made.enabled is enabled
    assert made.blocked("x", passed=True) == (None if enabled else "HOOKCORE=0")


@pytest.mark.parametrize(
    ("call", "command", "environ", "resume"),
    [
        (None, None, "1", "auto"),
        (None, None, "weights", "weights"),
        (None, None, "0", None),
        (None, None, "", None),
        (None, "must", "1", "must"),
        (None, True, None, "auto"),
        (False, "must", None, None),
        (True, "must", None, "auto"),
        ("weights", None, None, "weights"),
    ],
)
def test_resume(call, command, environ, resume):
    """--resume is auto; each layer can name a mode, or say no."""
    made = settings(
        call={"resume": call},
        command={"resume": command},
        environ={} if environ is None else {"HOOKCORE_RESUME": environ},
    )
    assert made.resume == resume


def test_a_resume_mode_that_is_none():
    """A mode is checked where it was typed, with the nearest one."""
    with pytest.raises(UsageError, match=r"(?s)HOOKCORE_RESUME.*'weight'.*did you mean 'weights'"):
        settings(environ={"HOOKCORE_RESUME": "weight"})


@pytest.mark.parametrize(
    ("where", "origin"),
    [
        ({"command": {"plugins": ["no:x"]}}, "-p no:x"),
        ({"command": {"plugins": ["a,no:x"]}}, "-p no:x"),
        ({"environ": {"HOOKCORE_DISABLE": " a , x "}}, "HOOKCORE_DISABLE"),
        ({"environ": {"HOOKCORE_DISABLE": "*"}}, "HOOKCORE_DISABLE"),
        ({"call": {"disable": ["x"]}}, "instrument(disable=...)"),
        ({"call": {"disable": "hookcore-x"}}, "instrument(disable=...)"),
        ({"call": {"disable": ["x"]}, "caller": "hookcore.run"}, "hookcore.run(disable=...)"),
        ({"environ": {"HOOKCORE_ONLY": "a"}}, "not in HOOKCORE_ONLY"),
        ({"environ": {"HOOKCORE_ONLY": ""}}, "not in HOOKCORE_ONLY"),
        ({"call": {"only": []}}, "not in instrument(only=...)"),
    ],
)
def test_what_blocks_a_plugin_is_named(where, origin):
    """Each way of switching off is told apart."""
    assert settings(**where).blocked("x") == origin


def test_the_file_blocks(project):
    """The file is found two folders up, and named."""
    made = settings(folder=project('[tool.hookcore]\ndisable = ["x"]\n'))
    assert made.blocked("x") == "[tool.hookcore] in pyproject.toml"
    assert made.file is not None


@pytest.mark.parametrize("text", ["", " ", ","])
def test_an_empty_list_blocks_nothing(text):
    """HOOKCORE_DISABLE= is no plugin named by an empty text."""
    assert dict(settings(environ={"HOOKCORE_DISABLE": text}).disable) == {}


def test_each_item_of_p_carries_its_own_no():
    """-p no:a,b,no:c switches b on, and the other two off."""
    made = settings(command={"plugins": ["no:a,b,no:c"]})
    assert [added.item for added in made.plugins] == ["b"]
    assert set(made.disable) == {"a", "c"}
    with pytest.raises(UsageError, match="-p no: names no plugin"):
        settings(command={"plugins": ["no:"]})


def test_a_later_word_on_the_command_line_wins():
    """As in pytest: -p no:x -p x is on, -p x -p no:x is off."""
    assert settings(command={"plugins": ["no:x", "x"]}).blocked("x") is None
    assert settings(command={"plugins": ["x", "no:x"]}).blocked("x") == "-p no:x"


def test_a_higher_layer_switches_on_what_a_lower_one_switched_off(project):
    """Naming beats the lower layers' block of that name, of all names, and their only."""
    folder = project('[tool.hookcore]\ndisable = ["x"]\n')
    command = {"plugins": ["x"]}
    assert settings(folder=folder, command=command).blocked("x") is None
    for variable, value in (("DISABLE", "*"), ("DISABLE", "x"), ("ONLY", ""), ("ONLY", "y")):
        made = settings(environ={f"HOOKCORE_{variable}": value}, command=command)
        assert made.blocked("x") is None
        assert (made.blocked("z") is None) == (value == "x")


def test_a_higher_layer_switches_off_what_a_lower_one_named():
    """The same the other way around, by name, by star and by only."""
    environ = {"HOOKCORE_PLUGINS": "x"}
    assert settings(environ=environ, command={"plugins": ["no:x"]}).blocked("x") == "-p no:x"
    assert settings(environ=environ, call={"disable": "*"}).blocked("x") is not None
    assert settings(environ=environ, call={"only": ["y"]}).blocked("x") is not None
    assert settings(environ={"HOOKCORE_DISABLE": "x"}, call={"only": ["x"]}).blocked("x") is None


def test_what_one_call_names_and_disables_is_off():
    """Within one layer of lists, off wins."""
    assert settings(call={"plugins": ["x"], "disable": ["x"]}).blocked("x") is not None


def test_a_passed_object_is_blocked_by_its_call_alone():
    """Lower layers cannot take out what the call passes; the call itself can."""
    environ = {"HOOKCORE_DISABLE": "x,y", "HOOKCORE_ONLY": ""}
    made = settings(environ=environ, call={"plugins": [object()], "disable": ["y"]})
    assert made.blocked("x", passed=True) is None
    assert made.blocked("y", passed=True) == "instrument(disable=...)"


def test_options_are_never_split_at_commas():
    """A value keeps its commas and equals signs; - and _ are one in an option's name."""
    made = settings(command={"options": ["hookcore-x.some-names=a,b=c"]})
    assert given(made, "x", "some_names") == ("a,b=c", "-o hookcore-x.some-names=a,b=c", True)


@pytest.mark.parametrize("text", ["x", "x.n", "n=3", ".n=3", "x.=3"])
def test_an_option_that_is_none(text):
    """The form is said where it is not kept."""
    with pytest.raises(UsageError, match=r"PLUGIN\.OPTION=VALUE"):
        settings(command={"options": [text]})


@pytest.mark.parametrize("options", ["x", ["x"], {"x": 3}, {"x.n": 3}, {1: {}}])
def test_options_of_a_call_have_two_levels(options):
    """Plugin, then option: anything else is said."""
    with pytest.raises(UsageError, match="maps plugins to their options"):
        settings(call={"options": options})


def test_variables_go_to_the_longest_name():
    """HOOKCORE_LR_FINDER_STEPS belongs to lr-finder where that is known, else to lr."""
    made = settings(environ={"HOOKCORE_LR_FINDER_STEPS": "5", "HOOKCORE_NOBODY_X": "1"})
    assert set(made.variables) == {"HOOKCORE_LR_FINDER_STEPS", "HOOKCORE_NOBODY_X"}
    both = made.with_variables(["lr", "lr-finder"])
    assert given(both, "lr_finder", "steps") == ("5", "HOOKCORE_LR_FINDER_STEPS=5", True)
    assert set(both.variables) == {"HOOKCORE_NOBODY_X"}
    assert given(made.with_variables(["lr"]), "lr", "finder_steps")[0] == "5"
    assert made.options == {}


def test_the_core_s_own_variables_are_no_options():
    """HOOKCORE_ONLY is never an option, even with a plugin of a clashing name."""
    assert settings(environ={"HOOKCORE_ONLY": "a", "HOOKCORE": "1"}).variables == {}


def test_unknown_keys_of_the_file_warn(project):
    """A file of a newer hookcore stays usable; a slip of the pen is named."""
    folder = project('[tool.hookcore]\ndisabel = ["x"]\nstrict = true\n')
    with pytest.warns(HookcoreWarning, match=r"(?s)'disabel'.*did you mean 'disable'"):
        assert settings(folder=folder).strict


def test_wrong_types_in_the_file(project):
    """A value of the wrong type names the file's table."""
    with pytest.raises(UsageError, match=r"\[tool\.hookcore\] in pyproject\.toml: strict"):
        settings(folder=project('[tool.hookcore]\nstrict = "yes"\n'))
    with pytest.raises(UsageError, match="disable cannot hold 3"):
        settings(folder=project("[tool.hookcore]\ndisable = [3]\n"))
    with pytest.raises(UsageError, match="is no table"):
        settings(folder=project("[tool]\nhookcore = 3\n"))


def test_a_broken_file_counts_only_where_it_speaks_of_us(project):
    """A file that is no TOML is another tool's business, unless our table stands in it."""
    assert settings(folder=project("[tool.other\n")) == Settings(file=Path.cwd() / "pyproject.toml")
    with pytest.raises(UsageError, match="cannot be read"):
        settings(folder=project("[tool.hookcore\n"))


def test_the_nearest_file_alone_is_read(project, tmp_path):
    """As other tools do: the first pyproject.toml on the way up, whatever it holds."""
    folder = project("[tool.hookcore]\nstrict = true\n")
    assert settings(folder=folder).strict
    (folder / "pyproject.toml").write_text("[project]\nname = 'inner'\n")
    assert not settings(folder=folder).strict


def test_an_unknown_word_of_the_call_is_a_type_error():
    """As with any function."""
    with pytest.raises(TypeError, match=r"instrument\(\) got an unexpected argument 'plugin'"):
        settings(call={"plugin": "x"})


def test_settings_are_frozen():
    """Nobody changes them on the way."""
    with pytest.raises(AttributeError):
        settings().strict = True
