from __future__ import annotations

import json
import subprocess
import sys
import types
import warnings

import click
import pytest

from hookcore.cli import group, main
from hookcore.errors import HookcoreWarning, PluginError, UsageError
from hookcore.settings import Layer


@pytest.fixture
def launched(monkeypatch):
    """A launch that records what it is called with, and does what it is told."""
    calls = []
    fake = types.ModuleType("hookcore.plain.launch")
    fake.outcome = lambda: 0

    def launch(target, argv, is_module, settings):
        calls.append(
            types.SimpleNamespace(target=target, argv=argv, is_module=is_module, settings=settings)
        )
        return fake.outcome()

    fake.launch, fake.calls = launch, calls
    monkeypatch.setitem(sys.modules, "hookcore.plain.launch", fake)
    return fake


@pytest.fixture(autouse=True)
def fresh_commands():
    group._foreign.cache_clear()
    yield
    group._foreign.cache_clear()


def run(capsys, *args):
    code = main([str(arg) for arg in args])
    out, err = capsys.readouterr()
    return code, out, err


# -- run -----------------------------------------------------------------------------------

TARGETS = [
    (["train.py"], "train.py", [], False),
    (
        ["train.py", "--epochs", "3", "-p", "no:x"],
        "train.py",
        ["--epochs", "3", "-p", "no:x"],
        False,
    ),
    (["train.py", "--", "-q"], "train.py", ["--", "-q"], False),
    (["train.py", "--help", "--version"], "train.py", ["--help", "--version"], False),
    (["--", "train.py", "-q"], "train.py", ["-q"], False),
    (["-q", "train.py", "-m"], "train.py", ["-m"], False),
    (["-m", "pkg.train"], "pkg.train", [], True),
    (["-m", "pkg.train", "-q", "--lr=3"], "pkg.train", ["-q", "--lr=3"], True),
    (["-m", "pkg.train", "--", "x"], "pkg.train", ["--", "x"], True),
    (["-p", "-m", "-m", "pkg", "--help"], "pkg", ["--help"], True),
    (["-mpkg", "-q"], "pkg", ["-q"], True),
    (["-o", "a.b=-m", "train.py", "-m", "x"], "train.py", ["-m", "x"], False),
]


@pytest.mark.parametrize(("args", "target", "argv", "is_module"), TARGETS)
def test_what_follows_the_script_is_the_script_s(capsys, launched, args, target, argv, is_module):
    """As with python: options end at the script, or at -m and its module."""
    assert run(capsys, "run", *args) == (0, "", "")
    (call,) = launched.calls
    assert (call.target, call.argv, call.is_module) == (target, argv, is_module)


def test_options_arrive_in_the_settings(capsys, launched):
    """Each of them, with the command line as its origin."""
    args = ["-p", "a,no:b", "-p", "c", "-o", "a.x=1,2", "-o", "a.y=3", "--strict", "-q"]
    args += ["--cost", "--budget", "2%"]
    assert run(capsys, "run", *args, "--resume", "train.py")[0] == 0
    settings = launched.calls[0].settings
    assert [added.item for added in settings.plugins] == ["a", "c"]
    assert settings.blocked("b") == "-p no:b"
    assert {o: given.value for o, given in settings.options["a"].items()} == {"x": "1,2", "y": "3"}
    assert settings.options["a"]["x"].origin.layer is Layer.COMMAND
    assert (settings.strict, settings.quiet, settings.resume) == (True, True, "auto")
    assert (settings.cost, settings.budget) == (True, 0.02)


@pytest.mark.parametrize(
    ("args", "resume"),
    [
        ([], None),
        (["--resume"], "auto"),
        (["--resume-mode", "must"], "must"),
        (["--resume", "--resume-mode", "weights"], "weights"),
    ],
)
def test_resume_modes(capsys, launched, args, resume):
    """--resume is a flag, so that the script may follow it."""
    run(capsys, "run", *args, "train.py")
    assert launched.calls[0].settings.resume == resume
    assert not launched.calls[0].settings.strict


def test_the_file_beside_the_script_is_read(capsys, launched, tmp_path):
    """The script's folder counts, not the one that the command is typed in."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "train.py").write_text("")
    (folder / "pyproject.toml").write_text("[tool.hookcore]\nstrict = true\n")
    run(capsys, "run", folder / "train.py")
    run(capsys, "run", "train.py")
    run(capsys, "run", "-m", "train")
    assert [call.settings.strict for call in launched.calls] == [True, False, False]


def test_the_environment_counts(capsys, launched, monkeypatch):
    """HOOKCORE=0 reaches launch, which then rewrites nothing."""
    monkeypatch.setenv("HOOKCORE", "0")
    run(capsys, "run", "train.py")
    assert not launched.calls[0].settings.enabled


@pytest.mark.parametrize(("given", "code"), [(None, 0), (0, 0), (1, 1)])
def test_the_exit_code_is_launch_s(capsys, launched, given, code):
    """A lost checkpoint makes it 1."""
    launched.outcome = lambda: given
    assert run(capsys, "run", "train.py")[0] == code


@pytest.mark.parametrize(
    "error",
    [
        SystemExit(3),
        KeyboardInterrupt(),
        EOFError(),
        ValueError("x"),
        click.ClickException("x"),
        click.exceptions.Exit(4),
        PluginError("x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_the_script_raises_goes_through(capsys, launched, error):
    """The command line's own handling of errors never touches the script's."""

    def outcome():
        raise error

    launched.outcome = outcome
    with pytest.raises(type(error)) as caught:
        main(["run", "train.py"])
    assert caught.value is error


def test_a_usage_error_in_the_script_is_exit_code_2(capsys, launched):
    """What was typed into the script's call of hookcore ends like what was typed here."""

    def outcome():
        raise UsageError("what", "why", "way out")

    launched.outcome = outcome
    assert run(capsys, "run", "train.py") == (2, "", "hookcore: what\n    why\n  way out\n")


WRONG = [
    (["run"], "there is no script to run", "hookcore run --help"),
    (["run", "-m"], "requires an argument", "hookcore --help"),
    (["run", "--resum", "train.py"], "No such option", "hookcore run --help"),
    (["run", "--resume-mode", "x", "t.py"], "'x' is not one of", "hookcore run --help"),
    (["run", "--budget", "1", "t.py"], "--budget: budget cannot be '1'", "did you mean '1%'?"),
    (["run", "--budget", "much", "t.py"], "budget cannot be 'much'", "such as:  1%"),
    (["run", "-o", "x", "train.py"], "-o x is no option", "-o earlystop.patience=3"),
    (["rum", "train.py"], "No such command 'rum'", "hookcore --help"),
    (["plugins", "--traceback", "x"], "there is no plugin 'x'", "installed are:"),
    (["plugins", "-o", "x"], "-o x is no option", "-o earlystop.patience=3"),
]


@pytest.mark.parametrize(("args", "what", "way_out"), WRONG)
def test_usage_errors(capsys, launched, args, what, way_out):
    """Exit code 2, what and the way out on stderr, nothing on stdout, no traceback."""
    code, out, err = run(capsys, *args)
    assert (code, out, launched.calls) == (2, "", [])
    assert err.startswith("hookcore: ")
    assert what.lower().replace("'", "") in err.lower().replace("'", "")
    assert way_out in err
    assert "Traceback" not in err


def test_our_warnings_are_lines(capsys, launched, tmp_path):
    """Without a place in our own code; those of others look as ever."""
    (tmp_path / "pyproject.toml").write_text("[tool.hookcore]\nx = 1\n")

    def outcome():
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("theirs", UserWarning, stacklevel=1)
            warnings.warn("hookcore: ours", HookcoreWarning, stacklevel=1)

    launched.outcome = outcome
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        # pytest records warnings instead of printing them; Python's own way is under test.
        warnings._showwarnmsg_impl, before = warnings_impl, warnings._showwarnmsg_impl
        try:
            _, _, err = run(capsys, "run", "train.py")
        finally:
            warnings._showwarnmsg_impl = before
    assert err.startswith("hookcore: unknown key 'x' in [tool.hookcore]")
    assert "UserWarning: theirs\n" in err
    assert err.endswith("hookcore: ours\n")


def warnings_impl(message):
    sys.stderr.write(warnings._formatwarnmsg(message))


# -- plugins -------------------------------------------------------------------------------


def test_the_table(capsys, install):
    """Name, package, status with its reason, hooks, options; plain text."""
    install("good", "importerror", "waiting", "options")
    code, out, err = run(capsys, "plugins", "-p", "no:good", "-o", "options.patience=4")
    assert (code, err) == (0, "")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[0] == "NAME PACKAGE STATUS"
    assert "good hookcore-good 1.2.0 blocked: -p no:good" in lines
    assert (
        "importerror hookcore-importerror 0.3.0 broken: "
        "ModuleNotFoundError: No module named 'a_module_that_is_not_there'"
    ) in lines
    at = lines.index("options hookcore-options 2.0 active")
    assert lines[at + 1] == "hooks on_epoch_end"
    assert lines[at + 2].startswith("options patience=4, min_delta=0.0, verbose=False")
    assert "waiting hookcore-waiting 0.1 waiting: autoload = False; name it: -p waiting" in lines
    assert "\x1b" not in out


def test_the_table_without_plugins(capsys, monkeypatch):
    """It says so."""
    monkeypatch.setattr("importlib.metadata.distributions", list)
    assert run(capsys, "plugins")[1].startswith("no plugin is installed")


def test_json(capsys, install):
    """Exactly seven keys a plugin, and values that every JSON reader takes."""
    install("good", "importerror", "options")
    code, out, err = run(capsys, "plugins", "--json")
    assert (code, err) == (0, "")
    rows = {row["name"]: row for row in json.loads(out)}
    keys = ["name", "distribution", "version", "status", "reason", "hooks", "options"]
    assert all(list(row) == keys for row in rows.values())
    assert rows["good"]["hooks"] == ["on_run_start", "on_epoch_end"]
    assert rows["importerror"]["status"] == "broken"
    options = {option["name"]: option for option in rows["options"]["options"]}
    assert options["patience"] == {
        "name": "patience",
        "type": "int",
        "default": 10,
        "value": 10,
        "help": "arrivals to wait",
    }
    assert options["colour"]["default"] == "red"
    assert options["betas"]["value"] == [0.9, 0.999]
    assert options["token"]["value"] == "(hidden)"


def test_which_switch_took_a_plugin_out(capsys, install, monkeypatch, tmp_path):
    """The list says which of them did it."""
    install("good")

    def reason(*args):
        (row,) = [
            r for r in json.loads(run(capsys, "plugins", "--json", *args)[1]) if r["name"] == "good"
        ]
        return row["status"], row["reason"]

    assert reason() == ("active", "installed")
    assert reason("-p", "no:good") == ("blocked", "-p no:good")
    (tmp_path / "pyproject.toml").write_text('[tool.hookcore]\ndisable = ["good"]\n')
    assert reason() == ("blocked", "[tool.hookcore] in pyproject.toml")
    monkeypatch.setenv("HOOKCORE_DISABLE", "*")
    assert reason() == ("blocked", "[tool.hookcore] in pyproject.toml")
    assert reason("-p", "good") == ("active", "named by -p good")


def test_traceback(capsys, install):
    """In any spelling; a plugin that works says that it has none."""
    install("good", "importerror")
    code, out, _ = run(capsys, "plugins", "--traceback", "hookcore-importerror")
    assert code == 0
    assert out.startswith("plugin 'importerror' (hookcore-importerror 0.3.0) is broken")
    assert "import a_module_that_is_not_there" in out
    assert "has no traceback: it is active" in run(capsys, "plugins", "--traceback", "good")[1]


# -- the rest ------------------------------------------------------------------------------


def test_version(capsys):
    """One line."""
    code, out, _ = run(capsys, "--version")
    assert code == 0
    assert out.startswith("hookcore ")
    assert len(out.splitlines()) == 1


def test_help(capsys, install):
    """Ours with their help, those of plugins with their package, and nothing imported."""
    install("commands")
    code, out, _ = run(capsys, "--help")
    assert code == 0
    lines = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert "Run a training script with plugins" in lines["run"]
    assert "of hookcore-commands 0.1" in lines["hello"]
    assert "hookcore_commands" not in sys.modules


def test_nothing_typed(capsys):
    """The help, and exit code 2, as click has it."""
    code, out, err = run(capsys)
    assert code == 2
    assert "Usage: hookcore" in out + err


def test_commands_of_plugins(capsys, install):
    """They are found by entry point, and one that is broken harms no other."""
    install("commands")
    assert run(capsys, "hello", "you") == (0, "hello you\n", "")
    code, _, err = run(capsys, "lost")
    assert code == 1
    assert "command 'lost' (hookcore-commands 0.1) could not be loaded" in err
    assert "ModuleNotFoundError" in err


@pytest.mark.parametrize(
    "start", [["-m", "hookcore"], ["-c", "import hookcore.cli as c; c.main()"]]
)
def test_a_list_of_plugins_imports_no_torch(child, start):
    """Nor cattrs, where no option was typed; python -m hookcore is the same as hookcore."""
    watch = (
        "import sys, atexit\n"
        "atexit.register(lambda: print(*sorted({'torch', 'cattrs', 'click'} & set(sys.modules)),"
        " file=sys.stderr))\n"
    )
    code = (
        start[-1]
        if start[0] == "-c"
        else "import runpy; runpy.run_module('hookcore', None, '__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{watch}sys.argv = ['hookcore', 'plugins', '-p', 'no:lr']\n{code}"],
        env=child("good", HOOKCORE_ONLY="good"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "good  " in done.stdout
    assert done.stderr.splitlines()[-1] == "click"


def test_importing_hookcore_loads_neither_click_nor_cattrs(child):
    """Both load on use."""
    code = (
        "import sys, hookcore, hookcore.cli\n"
        "print(sorted({'torch', 'cattrs', 'click'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=child(), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
