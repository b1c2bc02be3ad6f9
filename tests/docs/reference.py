"""The reference pages' parts that are made from the code.

    python tests/docs/reference.py            say which pages differ
    python tests/docs/reference.py --write    bring them up to date

A part stands between two comments, ``<!-- made: NAME -->`` and ``<!-- end of NAME -->``.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hookcore
from hookcore.hookspecs import EVENTS, WAYS_OUT, Hookspecs

ROOT = Path(__file__).parents[2]


def signature(name: str) -> str:
    """An event as a plugin may write it, with every argument."""
    names = list(inspect.signature(getattr(Hookspecs, name)).parameters)[1:]
    return f"{name}({', '.join(names)})"


# -- docstrings as Markdown ----------------------------------------------------------------

_ROLE = re.compile(r":(?:class|func|meth|data|mod|attr|ref):`~?\.?([^`]*)`")
_SECTION = re.compile(r"^(Args|Returns|Raises|Attributes):$")


def prose(text: str) -> str:
    """One docstring's text: reStructuredText's roles and quotes become Markdown's."""
    text = _ROLE.sub(lambda m: f"`{m[1]}`", text)
    return re.sub(r"``([^`]*)``", r"`\1`", text)


def markdown(doc: str) -> str:
    """A Google-style docstring as Markdown; its sections become lists."""
    lines: list[str] = []
    section = ""
    code: list[str] | None = None
    for line in [*inspect.cleandoc(doc).splitlines(), "."]:
        if code is not None:
            if not line or line.startswith("    "):
                code.append(line.removeprefix("    "))
                continue
            lines += ["", "<!-- not run: an outline -->", "```python"]
            lines += [*"\n".join(code).strip("\n").splitlines(), "```", ""]
            code = None
        match = _SECTION.match(line)
        if match:
            section = match[1]
            lines += ["Arguments:" if section == "Args" else f"{section}:", ""]
        elif line.endswith("::"):
            lines.append(prose(line[:-1]) if line != "::" else "")
            code = []
        elif section and line.startswith("    "):
            lines += _item(line, section)
        else:
            section = section if not line else ""
            lines.append(prose(line))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines[:-1])).strip()


def _item(line: str, section: str) -> list[str]:
    """A line of a section: the beginning of an item, or more of it."""
    text = line.removeprefix("    ")
    name, colon, rest = text.partition(": ")
    if text.startswith(" "):
        return [f"  {prose(text.strip())}"]
    if colon and re.fullmatch(r"[\w*]+", name):
        return [f"* `{name}`: {prose(rest)}"]
    if text.endswith(":") and re.fullmatch(r"\w+:", text):
        return [f"* `{text[:-1]}`:"]
    return [f"{prose(text)}" if section == "Returns" else f"* {prose(text)}"]


# -- the parts -----------------------------------------------------------------------------


def hooks() -> str:
    """Every hook: signature, text, arguments, cost; in the sections of the contract."""
    found: dict[str, list[str]] = {}
    heading = ""
    for line in inspect.getsource(Hookspecs).splitlines():
        section = re.match(r"    # -- (.*?) -+$", line)
        definition = re.match(r"    def (\w+)\(", line)
        if section:
            heading = section[1]
        elif definition:
            found.setdefault(heading, []).append(definition[1])
    order = [*[name for name in found if name != "host"], "host"]
    lines = []
    for name in order:
        lines += [f"## {name.capitalize()}", ""]
        for hook in found[name]:
            lines += [f"### {hook}", "", f"`{signature(hook)}`", ""]
            lines += [markdown(getattr(Hookspecs, hook).__doc__), ""]
    return "\n".join(lines).strip()


def names_of_hooks() -> str:
    """Every event with its arguments, as one table."""
    rows = [f"| [`{e.name}`](#{e.name}) | {', '.join(e.arguments)} |" for e in EVENTS.values()]
    return "\n".join(["| event | arguments |", "|---|---|", *rows])


def ways_out() -> str:
    """The table of ways to leave a loop."""

    def cell(how: str | None) -> str:
        return "goes on" if how is None else f"`{how}`"

    rows = [
        f"| {way.cause} | {cell(way.batch)} | {cell(way.epoch)} | {cell(way.train)} |"
        f" {'fires' if way.exception else ''} |"
        for way in WAYS_OUT
    ]
    head = "| what happens | on_batch_end | on_epoch_end | on_train_end | on_exception |"
    return "\n".join([head, "|---|---|---|---|---|", *rows])


def _signature_of(thing: Any, name: str) -> str:
    given = inspect.signature(thing)
    parameters = [
        p.replace(annotation=inspect.Parameter.empty)
        for p in given.parameters.values()
        if p.name != "self"
    ]
    return f"{name}{given.replace(parameters=parameters, return_annotation=given.empty)}"


def _members(cls: type) -> Iterator[str]:
    for name, member in vars(cls).items():
        if name.startswith("_"):
            continue
        doc = inspect.getdoc(member) or ""
        if "for adapters" in doc.lower():
            continue
        if isinstance(member, property):
            yield f"* `{name}`: {prose(_summary(doc))}"
        elif inspect.isfunction(member):
            head = f"#### {cls.__name__}.{name}\n\n`{_signature_of(member, name)}`"
            yield f"{head}\n\n{markdown(doc)}"


def _summary(doc: str | None) -> str:
    return " ".join((doc or "").strip().partition("\n\n")[0].split())


def of_class(cls: type) -> str:
    """A class: its text, its attributes, its methods."""
    members = list(_members(cls))
    properties = [text for text in members if text.startswith("* ")]
    methods = [text for text in members if text.startswith("####")]
    parts = [f"### {cls.__name__}", markdown(cls.__doc__ or "")]
    if properties:
        parts += ["Properties:", "\n".join(properties)]
    return "\n\n".join([*parts, *methods])


def of_functions(module: str, names: list[str]) -> str:
    """Functions and classes that are called like functions."""
    parts = []
    for name in names:
        thing = getattr(importlib.import_module(module), name)
        parts += [f"### {name}", f"`{_signature_of(thing, name)}`"]
        parts.append(markdown(thing.__doc__ or ""))
        if inspect.isclass(thing):
            parts += _members(thing)
    return "\n\n".join(parts)


FUNCTIONS = ["instrument", "run", "epochs", "batches", "validation", "log"]
CLASSES = ["Run", "Fit", "Metrics", "Readings", "Stop", "PluginRecord", "Settings"]
TESTING = ["Recorder", "assert_plugin_contract", "isolated_manager", "isolated_run", "tiny_run"]
MONITORS = ["Monitor", "Watch", "better", "direction_of"]


def classes() -> str:
    """What a plugin sees."""
    return "\n\n".join(of_class(getattr(hookcore, name)) for name in CLASSES)


def errors() -> str:
    """Every error and warning with its first line."""
    from hookcore import errors as module

    rows = ["| class | base | means |", "|---|---|---|"]
    for name, thing in vars(module).items():
        if inspect.isclass(thing) and issubclass(thing, Exception):
            rows.append(
                f"| `{name}` | `{thing.__bases__[0].__name__}` | {prose(_summary(thing.__doc__))} |"
            )
    return "\n".join(rows)


def options() -> str:
    """The options of the plugins in this repository, as their classes declare them."""
    from hookcore.plugins import load
    from hookcore.settings import Settings

    parts = []
    ours = {path.name for path in ROOT.glob("plugins/hookcore-*")}
    for record in load(Settings()).records:
        if record.distribution not in ours:
            continue
        parts += [f"## {record.name}", f"{_summary(type(record.plugin).__doc__)}"]
        claims = ", ".join(f"`{claim}`" for claim in record.claims)
        parts.append(
            f"Package `{record.distribution}`, role `{record.role}`"
            + (f", claims {claims}" if claims else "")
            + f". Hooks: {', '.join(f'`{hook}`' for hook in record.hooks)}."
        )
        rows = ["| option | takes | default | |", "|---|---|---|---|"]
        for option in record.options:
            takes = option.type.replace("|", "\\|")
            default = str(list(option.default) if option.default == () else option.default).lower()
            rows.append(f"| `{option.name}` | {takes} | {default} | {option.help} |")
        parts.append("\n".join(rows))
    return "\n\n".join(parts)


PARTS: dict[str, Callable[[], str]] = {
    "hooks": hooks,
    "names of hooks": names_of_hooks,
    "ways out": ways_out,
    "functions": lambda: of_functions("hookcore", FUNCTIONS),
    "classes": classes,
    "testing": lambda: of_functions("hookcore.testing", TESTING),
    "monitors": lambda: of_functions("hookcore.monitors", MONITORS),
    "errors": errors,
    "options": options,
}

_PART = re.compile(r"(?s)<!-- made: (?P<name>[\w ]+) -->\n.*?<!-- end of (?P=name) -->")


def parts_of(page: Path) -> list[str]:
    """Names of the parts that a page has."""
    return [match["name"] for match in _PART.finditer(page.read_text())]


def made(page: Path) -> str:
    """The page's text as it should be."""

    def fill(match: re.Match[str]) -> str:
        name = match["name"]
        return f"<!-- made: {name} -->\n\n{PARTS[name]()}\n\n<!-- end of {name} -->"

    return _PART.sub(fill, page.read_text())


def main() -> None:
    """Compare, or write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="bring the pages up to date")
    arguments = parser.parse_args()
    for page in sorted(ROOT.glob("docs/**/*.md")):
        text = made(page)
        if text != page.read_text():
            print(f"{page.relative_to(ROOT)}: {'brought' if arguments.write else 'not'} up to date")
            if arguments.write:
                page.write_text(text)


if __name__ == "__main__":
    main()
