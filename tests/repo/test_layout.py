"""The house keeps its shape: names, versions, furniture, and which room may know which."""

from __future__ import annotations

import configparser
import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import hookcore

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))
CORE = tomllib.loads((ROOT / "pyproject.toml").read_text())

each_plugin = pytest.mark.parametrize("folder", PLUGINS, ids=lambda folder: folder.name)


def project_of(folder: Path) -> dict:
    """The [project] table of a plugin."""
    return tomllib.loads((folder / "pyproject.toml").read_text())["project"]


def word_of(folder: Path) -> str:
    """The one word that a plugin is known by."""
    return folder.name.removeprefix("hookcore-")


def test_there_are_plugins():
    """What the tests below run over holds the four that the core ships with."""
    assert {word_of(folder) for folder in PLUGINS} >= {"progress", "lr", "earlystop", "checkpoint"}


@each_plugin
def test_one_version(folder):
    """The core and all plugins carry the same version."""
    assert project_of(folder)["version"] == CORE["project"]["version"]


def test_changelog_version():
    """The version that towncrier prints is the packages' version."""
    assert CORE["tool"]["towncrier"]["version"] == CORE["project"]["version"]


@each_plugin
def test_one_word_three_spellings(folder):
    """Distribution hookcore-x, module hookcore_x, entry point x."""
    word = word_of(folder)
    project = project_of(folder)
    assert folder.name == project["name"] == f"hookcore-{word}"
    assert (folder / f"hookcore_{word}" / "__init__.py").is_file()
    entry_points = project["entry-points"]["hookcore"]
    assert list(entry_points) == [word]
    assert entry_points[word].partition(":")[0] == f"hookcore_{word}"


@each_plugin
def test_core_is_a_range(folder):
    """A plugin takes each core of its major version, never exactly one."""
    needs = [need for need in project_of(folder)["dependencies"] if need.startswith("hookcore")]
    assert len(needs) == 1
    major, minor, _ = CORE["project"]["version"].split(".")
    assert re.sub(r"\[.*\]", "", needs[0]) == f"hookcore>={major}.{minor},<{int(major) + 1}"


@each_plugin
def test_pyproject_is_small(folder):
    """Thirty lines, and no tool's configuration: that stands once, in the root."""
    text = (folder / "pyproject.toml").read_text()
    assert len(text.splitlines()) <= 30
    assert "tool" not in tomllib.loads(text)


@each_plugin
@pytest.mark.parametrize("name", ["README.md", "{module}/plugin.py", "{module}/py.typed"])
def test_furniture(folder, name):
    """Each plugin's folder has the same things in the same places."""
    assert (folder / name.format(module=folder.name.replace("-", "_"))).is_file()


@each_plugin
def test_has_tests(folder):
    """A plugin's tests stand beside it."""
    assert list(folder.glob("tests/test_*.py"))


@each_plugin
def test_licence_is_the_core_s(folder):
    """One licence for all."""
    assert (folder / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


@each_plugin
def test_named_where_all_are(folder):
    """The extra `all`, tox.ini and mypy's path name each plugin."""
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini")
    assert any(
        need.startswith(f"{folder.name}>=")
        for need in CORE["project"]["optional-dependencies"]["all"]
    )
    assert f"solo-{word_of(folder)}" in tox["tox"]["env_list"]
    assert f"plugins/{folder.name}" in tox["plugins"]["all"].split()
    assert f"$MYPY_CONFIG_FILE_DIR/plugins/{folder.name}" in CORE["tool"]["mypy"]["mypy_path"]
    assert folder.name.replace("-", "_") in CORE["tool"]["coverage"]["run"]["source"]


@pytest.mark.skipif("TOX_ENV_NAME" not in os.environ, reason="only tox installs a wheel")
def test_the_wheel_is_what_is_tested():
    """Under tox the core comes from its wheel, with its types and its licence."""
    assert Path(hookcore.__file__).is_relative_to(sys.prefix)
    files = {path.name for path in importlib.metadata.files("hookcore") or ()}
    assert {"py.typed", "LICENSE"} <= files


def test_nothing_of_one_machine():
    """No tracked file holds a path of somebody's machine, or the address of a package registry."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    machine = re.compile(r"(?<![\w.>}])/(?:root|home|Users|work|opt)/\w")
    registry = re.compile(r"pypi\.org|pythonhosted\.org|download\.pytorch\.org|registry\.npmjs")
    found = []
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if not path.is_file():
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if machine.search(line) or registry.search(line):
                found.append(f"{name}:{number}: {line.strip()}")
    assert found == []
