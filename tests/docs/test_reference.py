"""The reference says what the code says."""

from __future__ import annotations

import re

import pages
import pytest
import reference

import hookcore
from hookcore.hookspecs import EVENTS
from hookcore.layers import VARIABLES

DOCS = pages.ROOT / "docs"
MADE = [(page, part) for page in sorted(DOCS.glob("**/*.md")) for part in reference.parts_of(page)]


def _case(page, part):
    # The options are those of the installed plugins, two of which need torch.
    marks = [pytest.mark.plugins, pytest.mark.torch] if part == "options" else []
    return pytest.param(page, part, id=f"{page.stem}: {part}", marks=marks)


@pytest.mark.parametrize(("page", "part"), [_case(page, part) for page, part in MADE])
def test_made_parts_are_up_to_date(page, part):
    """What is made from the code was made from this code: reference.py --write."""
    assert f"<!-- made: {part} -->\n\n{reference.PARTS[part]()}\n\n<!-- end" in page.read_text()


def test_every_part_has_its_page():
    """Nothing is made that nobody reads."""
    assert {part for _, part in MADE} == set(reference.PARTS)


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
def test_every_event_is_documented(event):
    """With a heading, its exact signature, its cost, and a place in the life cycle."""
    text = (DOCS / "reference" / "hooks.md").read_text()
    section = text.partition(f"\n### {event.name}\n")[2].partition("\n### ")[0]
    assert f"`{event.name}({', '.join(event.arguments)})`" in section
    assert "Cost: " in section
    for argument in event.arguments:
        assert f"* `{argument}`: " in section
    assert event.name in (DOCS / "explanation" / "life-cycle.md").read_text()


def test_every_public_name_is_documented():
    """Whatever `from hookcore import *` gives stands in the reference."""
    text = "".join(page.read_text() for page in sorted((DOCS / "reference").glob("*.md")))
    missing = [name for name in hookcore.__all__ if not re.search(rf"\b{name}\b", text)]
    assert missing == []


def test_every_variable_is_documented():
    """The page of variables has those that are read, and no page has another one."""
    page = (DOCS / "reference" / "environment.md").read_text()
    assert [name for name in ("HOOKCORE", *VARIABLES) if f"`{name}`" not in page] == []
    plugins = "|".join(path.name[9:].upper() for path in pages.ROOT.glob("plugins/hookcore-*"))
    for path in pages.PAGES:
        for name in re.findall(r"\bHOOKCORE_[A-Z_]+", path.read_text()):
            assert name in VARIABLES or re.match(rf"HOOKCORE_(?:{plugins})_", name), (path, name)


@pytest.mark.plugins
@pytest.mark.torch
def test_every_option_that_a_page_names_exists():
    """`-o plugin.option=` in a page is one that the plugin has, misspellings on purpose aside."""
    from hookcore.plugins import load
    from hookcore.settings import Settings

    known = {
        f"{record.name}.{option.name}"
        for record in load(Settings()).records
        for option in record.options
    }
    names = {record.partition(".")[0] for record in known}
    unknown = set()
    for page in pages.PAGES:
        for block in re.split(r"(?m)^```", page.read_text()):
            for option in re.findall(r"-o ([a-z]+\.[a-z_]+)=", block):
                if option.partition(".")[0] in names and option not in known:
                    unknown.add(option)
    assert unknown <= {"earlystop.patince", "earlystop.patienc"}


def test_the_tutorial_writes_the_plugin_that_stands_in_the_examples():
    """The last version of each file in the tutorial is the file of the example."""
    files = {
        block.says["file"]: block.text
        for block in pages.blocks(DOCS / "tutorial" / "first-plugin.md")
        if "file" in block.says
    }
    example = DOCS / "examples"
    assert {name: (example / name).read_text() for name in files} == files
    own = [path for path in (example / "hookcore-lossmonitor").rglob("*") if path.is_file()]
    tracked = {p.relative_to(example).as_posix() for p in own if p.suffix in (".py", ".toml")}
    assert tracked == set(files)
