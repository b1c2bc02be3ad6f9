"""Imports flow one way: which room of the core may know which, and what a plugin may know."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# A room imports from rooms in the rows above its own, at any depth of its code. Annotations are
# free: what stands under `if TYPE_CHECKING:` is no import.
ROWS = (
    ("errors",),
    ("hookspecs", "layers", "scratch", "signals", "snapshot"),
    ("evidence", "metrics", "options", "order", "settings"),
    ("checks", "monitors"),
    ("discovery", "dispatch", "ledger"),
    ("plugins",),
    ("training",),
    ("life",),
    ("session",),
    ("plain",),
    ("testing", "cli"),
    ("__init__", "__main__"),
)
ORDER = {room: row for row, rooms in enumerate(ROWS) for room in rooms}
CORE_FILES = sorted((ROOT / "hookcore").rglob("*.py"))
PLUGIN_FILES = sorted(ROOT.glob("plugins/*/hookcore_*/**/*.py"))
EXAMPLE_FILES = sorted(ROOT.glob("docs/examples/*.py"))
THIRD_PARTY = {"attrs", "attr", "cattrs", "click", "pluggy", "tomli", "torch"}
# What plugins may name besides `from hookcore import ...`.
PUBLIC_ROOMS = {"monitors", "snapshot", "testing"}
PUBLIC_MODULES = {"hookcore", *(f"hookcore.{room}" for room in PUBLIC_ROOMS)}
# Imported only by code that runs in a notebook's kernel, where it is.
THERE_WHEN_USED = {"IPython"}


def imports(path: Path) -> Iterator[tuple[str, tuple[str, ...], int]]:
    """Module, names taken from it, and line of each import that is carried out."""
    tree = ast.parse(path.read_text(), filename=str(path))
    annotations_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in annotations_only:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, (), node.lineno
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                parts = path.relative_to(ROOT).parts[: -node.level]
                module = ".".join((*parts, module)).rstrip(".")
            yield module, tuple(alias.name for alias in node.names), node.lineno


def room_of(path: Path) -> str:
    """The module or package directly under hookcore/ that a file belongs to."""
    first = path.relative_to(ROOT / "hookcore").parts[0]
    return first.removesuffix(".py")


def rooms_named(module: str, names: tuple[str, ...]) -> list[str]:
    """The rooms that one import statement reaches into."""
    if module == "hookcore":
        return [name if name in ORDER else "__init__" for name in names] or ["__init__"]
    return [module.split(".")[1]] if module.startswith("hookcore.") else []


def name_of(path: Path) -> str:
    """A file's path below the root."""
    return path.relative_to(ROOT).as_posix()


def test_every_room_has_its_place():
    """A new room of the core says in ROWS, above, where it stands."""
    assert {room_of(path) for path in CORE_FILES} <= set(ORDER)


@pytest.mark.parametrize("path", CORE_FILES, ids=name_of)
def test_rooms_import_one_way(path):
    """Each room of the core imports from the rooms before it, and its own."""
    own = room_of(path)
    wrong = [
        f"{name_of(path)}:{line} imports {module}"
        for module, names, line in imports(path)
        for room in rooms_named(module, names)
        if room != own and ORDER.get(room, 0) >= ORDER.get(own, 0)
    ]
    assert wrong == []


@pytest.mark.parametrize("path", CORE_FILES, ids=name_of)
def test_torch_has_two_rooms(path):
    """Only the plain adapter and the snapshots know torch; the rest serves any loop."""
    torch_lines = [line for module, _, line in imports(path) if module.split(".")[0] == "torch"]
    if room_of(path) not in ("plain", "snapshot"):
        assert torch_lines == []


@pytest.mark.parametrize("path", CORE_FILES, ids=name_of)
def test_third_parties_are_declared(path):
    """The core uses the standard library and its dependencies; the rest is optional."""
    allowed = {*sys.stdlib_module_names, "tomllib", *THIRD_PARTY, "hookcore"}
    optional = {"numpy", "safetensors"} if room_of(path) in ("plain", "snapshot") else set()
    assert {module.split(".")[0] for module, _, _ in imports(path)} <= {*allowed, *optional}


def test_snapshots_know_no_policy():
    """The file format imports its errors and torch, and no other room."""
    rooms = {
        room
        for path in CORE_FILES
        if room_of(path) == "snapshot"
        for module, names, _ in imports(path)
        for room in rooms_named(module, names)
    }
    assert rooms <= {"errors", "snapshot"}


@pytest.mark.parametrize("path", PLUGIN_FILES, ids=name_of)
def test_plugins_use_public_names(path):
    """A plugin imports public names of the core, itself, and no other plugin."""
    own = path.relative_to(ROOT / "plugins").parts[1]
    wrong = []
    for module, names, line in imports(path):
        top = module.split(".")[0]
        if not top.startswith("hookcore") or top == own:
            continue
        inside = module == "hookcore" and set(names) & (set(ORDER) - PUBLIC_ROOMS)
        private = [name for name in names if name.startswith("_") and name != "__version__"]
        if module not in PUBLIC_MODULES or inside or private:
            wrong.append(f"{name_of(path)}:{line} imports {module} {names}")
    assert wrong == []


@pytest.mark.parametrize("path", PLUGIN_FILES, ids=name_of)
def test_plugins_declare_what_they_use(path):
    """Each third-party package that a plugin imports stands in its own pyproject.toml."""
    folder = ROOT / "plugins" / path.relative_to(ROOT / "plugins").parts[0]
    text = (folder / "pyproject.toml").read_text()
    own = path.relative_to(ROOT / "plugins").parts[1]
    used = {module.split(".")[0] for module, _, _ in imports(path)}
    third = used - set(sys.stdlib_module_names) - {own, "tomllib", *THERE_WHEN_USED}
    assert [name for name in sorted(third) if name not in text] == []


@pytest.mark.parametrize("path", EXAMPLE_FILES, ids=name_of)
def test_examples_know_nothing_of_us(path):
    """The example loops are plain PyTorch."""
    assert not [module for module, _, _ in imports(path) if module.startswith("hookcore")]


def test_import_is_light():
    """`import hookcore` loads no torch, click, cattrs, and no plugin."""
    code = (
        "import sys, hookcore; "
        "heavy = ('torch', 'click', 'cattrs', 'numpy', 'rich'); "
        "print(*(n for n in sys.modules if n in heavy or n.startswith('hookcore_')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
