"""What ``hookcore explain`` says: findings of a trial and plugins, in words."""

from __future__ import annotations

import math
import shutil
import signal
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from hookcore.errors import three_parts
from hookcore.hookspecs import EVENTS
from hookcore.plugins import PluginRecord, Plugins

_LATER = ("on_train_end", "on_run_end")
_ASKED = ("on_stop", "on_signal", "on_exception", "on_checkpoint_save", "on_checkpoint_saved",
          "on_checkpoint_load", "on_resume")  # fmt: skip
_TITLES = (
    ("silent", "did not fire in the trial"),
    ("never", "cannot fire: the loop has no epochs"),
    ("asked", "fires only if it comes to that"),
    ("later", "fires at the end"),
)
_TAIL = 20
_HEAD = 14
_OF_EPOCHS = ("on_epoch_start", "on_epoch_end")
_MISSING = ("FileNotFoundError", "NotADirectoryError")


@attrs.frozen
class Explanation:
    """One explanation.

    Attributes:
        data: Everything, as JSON has it.
    """

    data: dict[str, Any]

    @classmethod
    def of(cls, found: Mapping[str, Any], loaded: Plugins) -> Explanation:
        """Add what the plugins have to do with it.

        Args:
            found: What the trial found.
            loaded: The plugins that a run would have.
        """
        empty = {"recognised": False, "loops": [], "other_loops": [], "events": {}, "claims": {},
                 "not_understood": [], "script": {"status": "died"}}  # fmt: skip
        data = {**empty, **found}
        if data["trial"]["late"]:
            data["script"] = {"status": "late"}
        elif data["script"]["status"] == "running":
            data["script"] = {"status": "died"}
        claims = {**loaded.claims, **data["claims"]}
        epochs = bool(data["recognised"]) and data["tried"]["epochs"] is not None
        data["plugins"] = [
            _plugin(record, data["events"], claims, has_epochs=epochs) for record in loaded.records
        ]
        return cls(data)

    @property
    def understood(self) -> bool:
        """Whether a training was recognised, and the script did not fail."""
        script = self.data["script"]
        failed = script["status"] in ("raised", "died") or script.get("code", 0) != 0
        return bool(self.data["recognised"]) and not failed

    @property
    def failure(self) -> str:
        """What the script printed last and its traceback, as without hookcore; or nothing."""
        script = self.data["script"]
        if script["status"] == "raised":
            return self._tail() + str(script["traceback"])
        if script["status"] in ("died", "late") or script.get("code"):
            message = script.get("message")
            return self._tail() + (f"{message}\n" if message else "")
        return ""

    def text(self, *, verbose: bool = False) -> str:
        """All of it for people.

        Args:
            verbose: With everything that the script printed.
        """
        lines = [self._first()]
        for title, rows in self._sections():
            found = list(rows)
            if found:
                lines += ["", title, *found]
        if verbose:
            lines += ["", "what the script printed", self.data["output"].rstrip() or "  nothing"]
        return "\n".join(lines)

    # -- the script ------------------------------------------------------------------------

    def _first(self) -> str:
        trial, tried = self.data["trial"], self.data.get("tried")
        where = "in a copy of its folder" if trial["copied"] else "in its folder"
        seen = "no training was recognised"
        if tried is not None:
            epochs = tried["epochs"]
            seen = _many(tried["batches"], "batch", "batches")
            if epochs is not None:
                seen = f"{_many(epochs, 'epoch')}, {seen}"
            seen += f", {_many(tried['steps'], 'step')}"
            seen += f", {_many(tried['validations'], 'validation')}"
        line = f"{self.data['target']}, tried {where} for {trial['seconds']:.1f} s: {seen}"
        how = self._how_it_ended()
        return f"{line}\n{how}" if how else line

    def _how_it_ended(self) -> str:
        script, trial = self.data["script"], self.data["trial"]
        status = script["status"]
        if status == "late":
            at = f"; it stands at {trial['stands_at']}" if trial["stands_at"] else ""
            what = "reach the end of the trial" if self.data["recognised"] else "take a first step"
            return three_parts(
                f"the script did not {what} in {trial['timeout']:g} s",
                f"it was ended{at}",
                "wait longer:  --timeout SECONDS",
            )
        if status == "raised":
            return three_parts("the script failed; its traceback is below", *self._hint())
        if status == "died":
            return f"the script's process {_death(trial['exit_code'])}"
        if status == "exited":
            return f"the script ended itself with exit code {script['code']}"
        return "the script ran to its end" if status == "ended" else ""

    def _hint(self) -> tuple[str, str]:
        """What a trial lacks that a run has, where the script's error may come of it."""
        lines = self.data["script"]["traceback"].rstrip().splitlines() or [""]
        kind = lines[-1].partition(":")[0]
        if kind == "EOFError":
            return "a trial gives it no input", "pass what it asks for as an argument"
        if kind in _MISSING and self.data["trial"]["copied"]:
            why = "the copy holds the working folder and the script's, and nothing beside them"
            return why, "let it run and write in the folder itself:  --in-place"
        return "", ""

    def _tail(self) -> str:
        lines = self.data["output"].splitlines(keepends=True)
        return "".join(lines[-_TAIL:])

    # -- sections --------------------------------------------------------------------------

    def _sections(self) -> Iterator[tuple[str, Iterable[str]]]:
        data = self.data
        if data["recognised"]:
            yield "loops", _loops(data["loops"])
        yield "loops that are no part of the training", _others(data["other_loops"])
        if data["recognised"]:
            yield "trained", _objects(data)
            yield "data", map(_loader, data["loaders"])
            yield "metrics", _metrics(data["metrics"])
            yield "plugins and their events", _plugins(data["plugins"])
        if "resume" in data:
            yield "resume", _resume(data["resume"])
        if data["recognised"]:
            yield "stop", _wrapped("  ", data["stopping"]["says"])
        yield "not understood", _listed(data["not_understood"])
        yield "files that the script wrote" + self._whose(), _files(data["files"])
        yield "not in the copy", _wrapped("  ", ", ".join(data["trial"]["left_out"]))

    def _whose(self) -> str:
        return ", in the copy" if self.data["trial"]["copied"] else ""


# -- loops -----------------------------------------------------------------------------------


def _loops(loops: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for loop in loops:
        yield f"  {loop['role']:<{_HEAD}} {loop['where']}  {_head(loop)}"
        indent = " " * (_HEAD + 3)
        yield from _wrapped(indent, loop["reason"])
        if loop["controlled"]:
            yield from _wrapped(indent, f"controlled: {loop['controlled']}")
        if loop["not"]:
            yield from _wrapped(indent, f"not: {loop['not']}")


def _head(loop: Mapping[str, Any]) -> str:
    scope = "" if loop["scope"] in ("<module>", "") else f" in {loop['scope']}()"
    total = "" if loop["total"] is None else f", {_many(loop['total'], 'iteration')}"
    return f"{loop['kind']}{scope}{total}"


def _others(loops: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    written_out = [loop for loop in loops if loop["kind"] != "comprehension"]
    for loop in written_out[:_TAIL]:
        yield from _hanging(f"{loop['where']}  {_head(loop)}: {loop['reason']}")
    if len(written_out) > _TAIL:
        yield f"  and {len(written_out) - _TAIL} more (--json has all, and comprehensions)"


# -- objects ---------------------------------------------------------------------------------


def _objects(data: Mapping[str, Any]) -> Iterator[str]:
    for model in data["models"]:
        text = f"{model['class']}, {model['parameters']:,} parameters"
        if model["trainable"] != model["parameters"]:
            text += f", {model['trainable']:,} of them trainable"
        yield _object("model", model, text)
    for optimizer in data["optimizers"]:
        groups = optimizer["groups"]
        rates = ", ".join(dict.fromkeys(_number(group["lr"]) for group in groups))
        text = f"{optimizer['class']}, {_many(len(groups), 'group')}, lr {rates}"
        yield _object("optimizer", optimizer, text)
    for scheduler in data["schedulers"]:
        yield _object("scheduler", scheduler, scheduler["class"])
    if not data["schedulers"]:
        yield f"  {'scheduler':<{_HEAD}} none"
    for scaler in data["scalers"]:
        yield _object("scaler", scaler, scaler["class"])


def _object(word: str, thing: Mapping[str, Any], text: str) -> str:
    name = f"{thing['name']}: " if thing["name"] else ""
    return f"  {word:<{_HEAD}} {name}{text}"


def _loader(loader: Mapping[str, Any]) -> str:
    parts = [loader["class"]]
    if loader["batches"] is not None:
        size = loader["batch_size"]
        parts.append(_many(loader["batches"], "batch", "batches") + (f" of {size}" if size else ""))
    if loader["samples"] is not None:
        parts.append(_many(loader["samples"], "sample"))
    parts.append(_many(loader["workers"], "worker"))
    return _object(loader["role"], loader, ", ".join(parts))


# -- metrics and events ------------------------------------------------------------------------


def _metrics(metrics: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    width = max((len(metric["name"]) for metric in metrics), default=0)
    for metric in metrics:
        value = _number(metric["value"])
        yield f"  {metric['name']:<{width}}  {value:<10}  {metric['source']:<10}  {metric['where']}"
    if not metrics:
        yield "  none arrived: the loop binds no number to a name, and calls no hookcore.log"


def _plugin(
    record: PluginRecord,
    events: Mapping[str, int],
    claims: Mapping[str, str],
    *,
    has_epochs: bool,
) -> dict[str, Any]:
    hooks = [name for name in EVENTS if name in record.hooks]
    never = () if has_epochs else _OF_EPOCHS
    apart = (*_LATER, *_ASKED, *never)
    return {
        "name": record.name,
        "status": record.status,
        "reason": record.reason,
        "fired": {name: events[name] for name in hooks if events.get(name)},
        "later": [name for name in hooks if name in _LATER],
        "asked": [name for name in hooks if name in _ASKED and not events.get(name)],
        "silent": [name for name in hooks if not events.get(name) and name not in apart],
        "never": [name for name in hooks if name in never],
        "every": dict(record.every),
        "at_most_every": dict(record.at_most_every),
        "stands_down": {
            resource: claims[resource]
            for resource in record.claims
            if record.status == "active" and claims.get(resource, record.name) != record.name
        },
    }


def _plugins(plugins: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not plugins:
        yield "  no plugin is installed"
    width = max([_HEAD, *(len(plugin["name"]) for plugin in plugins)])
    for plugin in plugins:
        head = f"  {plugin['name']:<{width}} "
        rest = " " * len(head)
        if plugin["status"] != "active":
            yield f"{head}{plugin['status']}: {plugin['reason']}"
            continue
        lines: list[str] = []
        fired = [_fired(name, count, plugin) for name, count in plugin["fired"].items()]
        lines += _wrapped(rest, "fired: " + (", ".join(fired) or "nothing"))
        for word, title in _TITLES:
            if plugin[word]:
                lines += _wrapped(rest, f"{title}: {', '.join(plugin[word])}")
        for resource, holder in plugin["stands_down"].items():
            lines += _wrapped(rest, f"stands down: {holder} has {resource!r}")
        yield head + lines[0][len(rest) :]
        yield from lines[1:]


def _fired(name: str, count: int, plugin: Mapping[str, Any]) -> str:
    every, seconds = plugin["every"].get(name), plugin["at_most_every"].get(name)
    text = f"{name} x{count}"
    if every:
        text += f" (it takes one of {every})"
    if seconds:
        text += f" (it takes one in {seconds:g} s)"
    return text


# -- the rest ----------------------------------------------------------------------------------


_PROMISES = {
    "exact": "at the end of each batch",
    "exact-at-epoch": "at the end of each epoch, but not inside one",
    "observe-only": "no resume",
    "refused": "no resume",
}


def _resume(resume: Mapping[str, Any]) -> Iterator[str]:
    why = resume["why"] or resume["inside"]
    text = f"{resume['verdict']}: {_PROMISES[resume['verdict']]}"
    yield from _wrapped("  ", f"{text}: {why}" if why else text)
    if resume["remedy"]:
        yield from _wrapped("    ", resume["remedy"])
    yield from _listed(resume["notes"])


def _files(files: Sequence[Mapping[str, str]]) -> Iterator[str]:
    for file in files[:_TAIL]:
        yield f"  {file['path']}  {file['change']}"
    if len(files) > _TAIL:
        yield f"  and {len(files) - _TAIL} more (--json has all)"
    if not files:
        yield "  none"


def _listed(texts: Sequence[str]) -> Iterator[str]:
    for text in texts:
        first, *more = _wrapped("    ", text)
        yield f"  - {first[4:]}"
        yield from more


def _hanging(text: str) -> Iterator[str]:
    first, *more = _wrapped("    ", text)
    yield first[2:]
    yield from more


def _wrapped(head: str, text: str) -> list[str]:
    width = max(shutil.get_terminal_size((100, 24)).columns, 60)
    return textwrap.wrap(
        text,
        width,
        initial_indent=head,
        subsequent_indent=head,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _many(count: int, one: str, more: str = "") -> str:
    return f"{count:,} {one if count == 1 else more or one + 's'}"


def _number(value: float | str | None) -> str:
    if not isinstance(value, (int, float)):
        return "unknown" if value is None else value
    whole = math.isfinite(value) and value == int(value) and abs(value) < 1e15
    return f"{int(value)}" if whole else f"{value:.5g}"


def _death(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code} and no word"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
