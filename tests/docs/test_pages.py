"""The docs are true: every block is run, and prints what the page says."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pages
import pytest

RUN = [page for page in pages.PAGES if any(b.is_run or b.printer for b in pages.blocks(page))]


def _case(page: Path) -> pytest.param:
    marks = [getattr(pytest.mark, word) for word in pages.needs(page)]
    return pytest.param(page, id=pages.name_of(page), marks=marks)


each_page = pytest.mark.parametrize("page", pages.PAGES, ids=pages.name_of)


@pytest.mark.skipif(sys.platform == "win32", reason="the pages' shell blocks are for a POSIX shell")
@pytest.mark.parametrize("page", [_case(page) for page in RUN])
def test_page(page, tmp_path):
    """What a reader types off the page does what the page says."""
    assert pages.faults(page, tmp_path) == []


@each_page
def test_blocks_are_what_they_say(page):
    """Each block parses, and is run, is a file, is an output, or says why it is none of these."""
    assert pages.malformed(page) == []


@each_page
def test_links_lead_somewhere(page):
    """A link to a file finds it, and its anchor is a heading there."""
    prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"https?:|mailto:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists() or (anchor and anchor not in _anchors(path)):
            broken.append(target)
    assert broken == []


def test_every_page_is_found_from_the_index():
    """Nobody has to guess that a page exists."""
    reached, waiting = set(), [pages.ROOT / "docs" / "index.md"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        for target in re.findall(r"\]\(([^)\s#]+)", page.read_text()):
            path = (page.parent / target).resolve()
            if path.suffix == ".md" and path.is_file():
                waiting.append(path)
    docs = {page for page in pages.PAGES if "docs" in page.relative_to(pages.ROOT).parts}
    assert {pages.name_of(page) for page in docs - reached} == set()


def _anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize(
    ("expected", "actual", "is_same"),
    [
        ("loss 0.5\n", "loss 0.25\n", True),
        ("a 1\na 2\n", "a 1\n", True),
        ("a\n", "b\n", False),
        ("a\n", "a\nb\n", False),
        ("a\n...\n", "a\nb\nc\n", True),
        ("a\n...\nd\n", "a\nb\nc\n", False),
        ("hookcore: epoch 1/3 done in 0:01, 5 batches/s\n", "hookcore: epoch 1/3 done\n", True),
    ],
)
def test_what_counts_as_the_same_output(expected, actual, is_same):
    """Numbers, rates and repetitions may differ; a line more or less may not."""
    assert pages.same(expected, actual) is is_same
