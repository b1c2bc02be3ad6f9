"""What the user says of a loop: in a comment, by its place, in a call; it comes before the rest."""

from __future__ import annotations

import pytest

from hookcore import UsageError
from hookcore.layers import Given, Layer, Origin
from hookcore.plain.adapter import Plain
from hookcore.plain.overrides import Overrides
from hookcore.plain.table import SITES, Site
from hookcore.session import Session
from hookcore.settings import resolve
from hookcore.testing import Recorder

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("fewer_objects")]

CHUNKS = """
def train():
    model = make(); optimizer = sgd(model)
    for number in range(2):
        for chunk in range(2):
            for x, y in loader():
                update(model, optimizer, x, y)
        for x, y in loader():
            model.forward(x)
    return weights(model)
"""


class Says:
    """A module, and the places of its loops."""

    def __init__(self, lab, source):
        self.module = lab.module(source)
        mine = (site for site in SITES.values() if site.module == self.module.__name__)
        found = [site for site in mine if site.scope == "train" and site.kind == "for"]
        self.sites = sorted(found, key=lambda site: site.line)

    def at(self, number):
        """The place of one of the loops, in the order in which they are read."""
        return f"{self.module.__name__}.py:{self.sites[number].line}"


@pytest.fixture
def chunks(lab):
    return Says(lab, CHUNKS)


def story_with(lab, words, module, loops):
    """The events of a module's ``train`` in a run to which this was said."""
    recorder = Recorder()
    call = {"plugins": [recorder], "only": [], "quiet": True, "loops": loops}
    settings = resolve(call=call, command=None, environ={}, folder=None)
    session = Session(settings, "said", Plain(), distributions=())
    lab.seed()
    session.open()
    try:
        module.train()
    finally:
        session.close("finished")
    return words(recorder)


EPOCH = "E( b s . b s . b s . b s . )E"


def test_nothing_is_said(lab, words, chunks):
    """The outermost loop counts the epochs; the last loop calls no hook of the model."""
    assert story_with(lab, words, chunks.module, {}) == f"T( {EPOCH} {EPOCH} )T R"


def test_epoch(lab, words, chunks):
    """The loop that is named counts them; the one round it is outside."""
    one = "T( E( b s . b s . )E E( b s . b s . )E )T"
    assert story_with(lab, words, chunks.module, {chunks.at(1): "epoch"}) == f"{one} {one} R"


def test_batch(lab, words, chunks):
    """What steps in it belongs to its iteration."""
    epoch = "E( b s s . b s s . )E"
    said = {chunks.at(1): "batch"}
    assert story_with(lab, words, chunks.module, said) == f"T( {epoch} {epoch} )T R"


def test_ignore(lab, words, chunks):
    """It is left out."""
    one = "T( E( b s . b s . )E E( b s . b s . )E )T"
    said = {chunks.at(0): "ignore"}
    assert story_with(lab, words, chunks.module, said) == f"{one} {one} R"


def test_validation(lab, words, chunks):
    """Its iterations are batches of one, though nothing is heard in them."""
    epoch = "E( b s . b s . b s . b s . V( v v )V )E"
    said = {chunks.at(3): "validation"}
    assert story_with(lab, words, chunks.module, said) == f"T( {epoch} {epoch} )T R"


def test_it_comes_before_the_comment(lab, words):
    """Both on one loop: the setting counts."""
    text = CHUNKS.replace("for chunk in range(2):", "for chunk in range(2):  # hookcore: epoch")
    says = Says(lab, text)
    epoch = "E( b s s . b s s . )E"
    said = {says.at(1): "batch"}
    assert story_with(lab, words, says.module, said) == f"T( {epoch} {epoch} )T R"


@pytest.mark.parametrize(
    "where",
    [
        {"call": {"loops": {"train.py:31": "epoch"}}},
        {"command": {"loops": ("train.py:31=epoch",)}},
        {"environ": {"HOOKCORE_LOOPS": "train.py:31=epoch,other.py:4=ignore"}},
    ],
    ids=["call", "command", "environment"],
)
def test_it_is_one_setting(where):
    """Typed anywhere, it is the same."""
    layers = {"call": None, "command": None, "environ": None, "folder": None, **where}
    settings = resolve(**layers)
    assert settings.loops["train.py:31"].value == "epoch"
    assert "train.py:31=epoch" in str(settings.loops["train.py:31"].origin)


def test_in_a_project(tmp_path):
    """A table of ``pyproject.toml``; a call comes before it, loop by loop."""
    text = '[tool.hookcore.loops]\n"train.py:31" = "epoch"\n"train.py:40" = "ignore"\n'
    (tmp_path / "pyproject.toml").write_text(text)
    settings = resolve(
        call={"loops": {"train.py:31": "batch"}}, command=None, environ=None, folder=tmp_path
    )
    assert {at: given.value for at, given in settings.loops.items()} == {
        "train.py:31": "batch",
        "train.py:40": "ignore",
    }


@pytest.mark.parametrize("text", ["train.py=epoch", "train.py:0=epoch", "train.py:3=epochs"])
def test_what_says_nothing(text):
    """A place is a file and a line, a role one of four; else it is an error, before any run."""
    with pytest.raises(UsageError, match="says nothing of a loop"):
        resolve(call=None, command={"loops": (text,)}, environ=None, folder=None)


@pytest.mark.parametrize(
    ("place", "path", "same"),
    [
        ("train.py", "/a/train.py", True),
        ("b/train.py", "/a/b/train.py", True),
        ("./train.py", "/a/train.py", True),
        ("c/train.py", "/a/b/train.py", False),
        ("rain.py", "/a/train.py", False),
    ],
)
def test_a_file_is_known_by_the_end_of_its_path(place, path, same):
    """By whole parts of it."""
    said = Overrides({f"{place}:3": Given("epoch", Origin("here", Layer.CALL))})
    site = Site(id=0, kind="for", path=path, line=3, ordinal=0, module="m", scope="f")
    assert said.role(site) == ("epoch" if same else None)


def test_a_place_without_a_loop_is_said(lab, words, chunks, capsys):
    """At the run's end, with the lines at which the file's loops begin."""
    name = f"{chunks.module.__name__}.py"
    story_with(lab, words, chunks.module, {f"{name}:1": "epoch"})
    said = capsys.readouterr().err
    assert f"no loop that hookcore follows begins at {name}:1" in said
    assert all(str(site.line) in said for site in chunks.sites)
