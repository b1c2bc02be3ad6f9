"""The pages of the docs, as a reader who types everything off them would run them.

    python tests/docs/pages.py [PAGE...]              run pages, say what differs
    python tests/docs/pages.py --write [PAGE...]      put what they really print into them

A page's fenced blocks are run in order, in one fresh folder, with a Python environment of its own:

* ``sh`` is given to bash, ``python`` to Python. Each must end with exit code 0.
* ``text`` right after one of them is what it prints: stdout and stderr, as they come.
  A line ``...`` in it stands for any lines.
* ``toml`` and ``json`` must parse.

A comment on the line before a block says what is different about it:

    <!-- file: train.py -->       the block is the file's text (any language)
    <!-- exit: 2 -->              the exit code that it ends with
    <!-- output of: COMMAND -->   what this command prints (a ``text`` block)
    <!-- not run: why -->         it is not, and why

A comment anywhere says what the page needs and what its folder holds from the start:

    <!-- needs: torch plugins slow -->
    <!-- has: digits.py = docs/examples/digits.py -->
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path

import attrs

ROOT = Path(__file__).parents[2]
PAGES = (
    ROOT / "README.md",
    ROOT / "plugins" / "README.md",
    *sorted(ROOT.glob("docs/*.md")),
    *(path for path in sorted(ROOT.glob("docs/*/*.md")) if path.parent.name != "changes"),
)

_FENCE = re.compile(r"(?ms)^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^ *```$")
_COMMENT = re.compile(r"<!-- (?P<word>[a-z ]+): (?P<value>.*?) -->")
_RUN = ("sh", "python")


@attrs.frozen
class Block:
    """A fenced block.

    Attributes:
        line: Its first line in the page, from 1.
        language: After the fence.
        text: What stands in it.
        span: Where the text stands in the page.
        says: The comment before it: word to value.
        after: The block before it, where nothing but white space stands between them.
    """

    line: int
    language: str
    text: str
    span: tuple[int, int]
    says: dict[str, str]
    after: Block | None

    @property
    def is_run(self) -> bool:
        """Whether it is carried out."""
        return self.language in _RUN and not {"not run", "file"} & set(self.says)

    @property
    def printer(self) -> int | None:
        """Line of the block whose output this one is: the one before it, or itself."""
        if "output of" in self.says:
            return self.line
        if self.language == "text" and not self.says and self.after and self.after.is_run:
            return self.after.line
        return None


def name_of(page: Path) -> str:
    """A page as messages name it."""
    return page.relative_to(ROOT).as_posix()


def comments(page: Path, word: str) -> list[str]:
    """What a page's comments with this word say."""
    return [m["value"] for m in _COMMENT.finditer(page.read_text()) if m["word"] == word]


def needs(page: Path) -> list[str]:
    """What a page cannot be run without."""
    return [w for text in comments(page, "needs") for w in text.split() if w != "nothing"]


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text()
    found: list[Block] = []
    end = 0
    for match in _FENCE.finditer(text):
        between = text[end : match.start()]
        before = between.rstrip().rpartition("\n")[2]
        comment = _COMMENT.fullmatch(before.strip())
        says = {comment["word"]: comment["value"]} if comment else {}
        indent = match["indent"]
        body = "".join(
            line.removeprefix(indent) for line in match["text"].splitlines(keepends=True)
        )
        line = text.count("\n", 0, match.start()) + 1
        after = found[-1] if found and not between.strip() else None
        found.append(Block(line, match["language"], body, match.span("text"), says, after))
        end = match.end()
    return found


# -- running -------------------------------------------------------------------------------


class Reader:
    """Somebody who types a page off: a folder, and a Python environment that finds ours.

    Args:
        folder: Empty; the environment goes beside the page's own folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "project"
        self.folder.mkdir(parents=True)
        place = folder / "env"
        venv.create(place, with_pip=False, symlinks=True)
        self.python = place / "bin" / "python"
        library = next(place.glob("lib/python*/site-packages"))
        ours = [p for p in sys.path if p and Path(p).is_dir() and not _is_standard(p)]
        (library / "parent.pth").write_text("\n".join([*ours, str(ROOT)]) + "\n")
        self.library = library
        for command, words in (
            ("hookcore", "-m hookcore"),
            ("pytest", "-m pytest -p no:cacheprovider"),
        ):
            self._script(place / "bin" / command, f'exec "{self.python}" {words} "$@"')
        # The network is not there, so nothing is fetched: what a package needs is in place.
        self._script(
            place / "bin" / "pip",
            'word="$1"; shift\n'
            '[ "$word" = install ] && set -- --no-build-isolation --no-deps "$@"\n'
            f'exec "{self.python}" -m pip "$word" "$@"',
        )
        keep = ("LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT")
        self.environ = {name: os.environ[name] for name in keep if name in os.environ} | {
            "PATH": f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.folder),
            "COLUMNS": "100",
            "OMP_NUM_THREADS": "1",
            "PYTHONUNBUFFERED": "1",
            "PIP_QUIET": "1",
            "PIP_NO_INDEX": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_ROOT_USER_ACTION": "ignore",
        }

    def _script(self, path: Path, body: str) -> None:
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def run(self, language: str, text: str) -> tuple[int, str]:
        """Run a block; its exit code and what it printed."""
        if language == "python":
            (self.folder / "block.py").write_text(text)
            command = [str(self.python), "block.py"]
        else:
            command = ["bash", "-e", "-o", "pipefail", "-c", text]
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
            check=False,
        )
        (self.folder / "block.py").unlink(missing_ok=True)
        return done.returncode, self._shown(done.stdout)

    def write(self, name: str, text: str) -> None:
        """Write a file that the page shows."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def _shown(self, output: str) -> str:
        """What was printed, without what is only true on this machine."""
        for path, name in (
            (self.folder, "/project"),
            (ROOT / "hookcore", "/site-packages/hookcore"),
            *((folder, "/site-packages") for folder in ROOT.glob("plugins/hookcore-*")),
        ):
            output = output.replace(str(path.resolve()), name).replace(str(path), name)
        output = re.sub(r"/[^\s\"']*?/site-packages", "/site-packages", output)
        output = re.sub(r"/[^\s\"']*?/lib/python3\.\d+", "/lib/python3", output)
        lines = (line.rpartition("\r")[2].rstrip() for line in output.splitlines())
        return "".join(f"{line}\n" for line in lines)


def _is_standard(path: str) -> bool:
    return Path(path) in {Path(os.__file__).parent, Path(os.__file__).parent / "lib-dynload"}


def follow(page: Path, reader: Reader) -> Iterator[tuple[Block, int, str]]:
    """Carry a page out; each block that was run, with its exit code and output."""
    for value in comments(page, "has"):
        name, _, source = (part.strip() for part in value.partition("="))
        origin = ROOT / source
        if origin.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "build", "dist", ".*")
            shutil.copytree(origin, reader.folder / name, ignore=ignored)
        else:
            shutil.copy(origin, reader.folder / name)
    for block in blocks(page):
        if "file" in block.says:
            reader.write(block.says["file"], block.text)
        elif block.is_run:
            yield block, *reader.run(block.language, block.text)
        elif "output of" in block.says:
            yield block, *reader.run("sh", block.says["output of"])


def faults(page: Path, folder: Path) -> list[str]:
    """What does not happen as the page says; the first one ends it, for the rest builds on it."""
    outputs = {block.printer: block for block in blocks(page) if block.printer is not None}
    for block, code, output in follow(page, Reader(folder)):
        place = f"{name_of(page)}:{block.line}"
        wanted = int(block.says.get("exit", 0))
        if code != wanted:
            return [f"{place}: exit code {code}, not {wanted}\n{output}"]
        text = outputs.get(block.line)
        if text is not None and not same(text.text, output):
            return [f"{place}: it prints\n{output}\nand the page says\n{text.text}"]
    return []


def malformed(page: Path) -> list[str]:
    """Blocks that cannot be what they say they are, run or not."""
    found = []
    for block in blocks(page):
        try:
            if block.language == "python":
                ast.parse(block.text)
            elif block.language == "sh":
                shlex.split(block.text, comments=True)
            elif block.language == "toml":
                _toml().loads(block.text)
            elif block.language == "json":
                json.loads(block.text)
            elif block.language == "text":
                if block.printer is None and not block.says:
                    raise ValueError("it is no output of a block before it")
            elif block.language != "mermaid":
                raise ValueError(f"nobody checks the language {block.language!r}")
            if not block.says.get("not run", "it is"):
                raise ValueError("it is not run, and does not say why")
        except (SyntaxError, ValueError) as error:
            found.append(f"{name_of(page)}:{block.line}: {error}")
    return found


def _toml():
    try:
        import tomllib
    except ModuleNotFoundError:  # Python 3.10
        import tomli as tomllib
    return tomllib


# -- comparing -----------------------------------------------------------------------------

_NUMBER = re.compile(r"[-+]?\d+(?:[.,:]\d+)*(?:e[-+]?\d+)?%?|\bnan\b|\binf\b")
# What progress prints depends on the clock: how fast, which values it has asked for, and, as a
# thread of its own prints it, before or after which other line.
_TICK = re.compile(r"^hookcore: (?:epoch|batch|step) N(?:/N)?, .*(?:batches|batch|steps)/s.*$")
_DONE = re.compile(r"^(hookcore: (?:epoch N(?:/N)? done|validation at|N epochs?, N|N batches)).*$")
_THREAD = ("hookcore: epoch N", "hookcore: validation at", "hookcore: stopping", "hookcore: N ")


def shape(text: str) -> list[str]:
    """The kinds of lines, each once: without numbers, and without what depends on the clock."""
    seen: dict[str, None] = {}
    for line in text.splitlines():
        bare = " ".join(_NUMBER.sub("N", line).split())
        if bare and not _TICK.match(bare):
            seen.setdefault(_DONE.sub(r"\1", bare))
    late = [line for line in seen if line.startswith(_THREAD)]
    return [*(line for line in seen if line not in late), *sorted(late)]


def same(expected: str, actual: str) -> bool:
    """Whether a page's output is what is printed, but for numbers, times and rates."""
    wanted, found = shape(expected), shape(actual)
    if "..." not in wanted:
        return wanted == found
    remaining = iter(found)
    return all(line in remaining for line in wanted if line != "...")


# -- writing -------------------------------------------------------------------------------


def rewrite(page: Path, folder: Path, *, everything: bool = False) -> bool:
    """Put what the page's blocks print into it, where it differs; whether anything did."""
    text = page.read_text()
    outputs = {block.printer: block for block in blocks(page) if block.printer is not None}
    changes: list[tuple[tuple[int, int], str]] = []
    for block, code, output in follow(page, Reader(folder)):
        if code != int(block.says.get("exit", 0)):
            print(f"{name_of(page)}:{block.line}: exit code {code}, the rest is not run\n{output}")
            break
        old = outputs.get(block.line)
        if old is None:
            continue
        elided = "..." in old.text.splitlines()
        if not same(old.text, output) or (everything and not elided):
            changes.append((old.span, output))
    for (start, end), output in reversed(changes):
        text = text[:start] + output + text[end:]
    page.write_text(text)
    return bool(changes)


def main() -> None:
    """Run pages from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="put outputs that differ into them")
    parser.add_argument("--all", action="store_true", help="with --write: the others too")
    parser.add_argument("pages", nargs="*", type=Path)
    arguments = parser.parse_args()
    for page in [p.resolve() for p in arguments.pages] or PAGES:
        with tempfile.TemporaryDirectory() as folder:
            if arguments.write:
                changed = rewrite(page, Path(folder), everything=arguments.all)
                print(f"{name_of(page)}: {'changed' if changed else 'as it was'}")
            else:
                wrong = malformed(page) or faults(page, Path(folder))
                print(*(wrong or [f"{name_of(page)}: ok"]), sep="\n")


if __name__ == "__main__":
    main()
