"""A checkpoint that waits for its loop, and is put back there."""

from __future__ import annotations

import collections
import weakref
from typing import TYPE_CHECKING, Any

from hookcore.errors import UsageError
from hookcore.plain import table
from hookcore.plain.resume import prologue, rng
from hookcore.plain.resume.batches import changed, is_own_change, origin
from hookcore.plain.resume.constants import Constants
from hookcore.plain.resume.iterators import stand_in
from hookcore.plain.resume.levels import digests, site_key
from hookcore.plain.resume.paths import name_of
from hookcore.plain.resume.putback import (
    AFRESH,
    FRESH,
    PutBack,
    check_order,
    load_object,
    misfit,
    take_weights,
)
from hookcore.plain.resume.reach import Reach
from hookcore.plain.sites import loaders_in
from hookcore.snapshot import ObjectRecord

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hookcore.plain.adapter import Plain
    from hookcore.plain.sites import ForLoop, Loop
    from hookcore.snapshot import Snapshot
    from hookcore.training import Fit, Run


class Pending:
    """Continues a run from a snapshot.

    The script runs from its start. When the outermost of the snapshot's loops is reached, its
    finished iterations are passed over without their bodies; in place of the last one's body the
    state of its head is put back; the iteration that was running begins again, until the loop
    inside is reached. At the innermost head everything is put back as it was, in place, random
    states last.

    Attributes:
        position: The snapshot's position.
        done: Whether everything is back.
        optimizer: One that the fit trains with, once everything is back inside an epoch.
    """

    def __init__(self, host: Plain, snapshot: Snapshot) -> None:
        self._host = host
        self._snapshot = snapshot
        self._loops: list[Loop] = []
        self._put: Loop | None = None
        self._names: dict[str, Any] = {}
        self._anew: collections.defaultdict[int, frozenset[str]]
        self._anew = collections.defaultdict(frozenset)  # names that a level binds before it reads
        self._around: dict[str, Any] = {}
        self._live: dict[str, Any] = {}
        self._checked: set[str] = set()
        self._origin: dict[str, Any] | None = None
        self._kept = weakref.WeakSet[Any]()  # loaders that were there before the loop went on
        self.position = snapshot.position
        self.weights_only = host.run.resume == "weights"
        self.done = False
        self.optimizer: Any = None
        if not self.weights_only and "site" not in snapshot.position:
            raise UsageError(
                "this checkpoint cannot be resumed from",
                f"it lacks what a resume needs ({snapshot.header.reason})",
                FRESH,
            )
        self._levels: list[dict[str, Any]] = snapshot.position.get("levels") or [self.position]
        self._awaited: list[tuple[int, Mapping[str, Any]]] = []
        if not self.weights_only:
            host.notice_torch()
            self._await(0)
            self._load_plugins()

    @property
    def iteration(self) -> int:
        """Index of the last finished iteration of the loop that was reached last; -1: none is."""
        return int(self._levels[len(self._loops) - 1]["iteration"])

    @property
    def outermost(self) -> Loop:
        """The outermost loop, once it was reached."""
        return self._loops[0]

    def reached(self, loop: Loop) -> bool:
        """Whether this is the entry of the loop that the snapshot was taken in.

        Raises:
            UsageError: It is, but the code has changed since.
        """
        number = len(self._loops)
        if self.weights_only or number == len(self._levels):
            return False
        folder = str(self._host.run.folder)
        if loop.site.path not in self._checked:
            self._checked.add(loop.site.path)
            self._check_code(digests(loop, folder), all_of_them=False)
        level = self._levels[number]
        if site_key(loop, folder) != list(level["site"]):
            return False
        entry = loop.entry if number else self._host.heads.entries[loop.site.id]
        if entry != level["entry"]:
            return False
        if number and not self._in_place(loop):
            return False
        self._refuse(changed(level, loop))
        if number == len(self._levels) - 1:
            self._check_code(digests(loop, folder))
        self._loops.append(loop)
        return True

    def begins(self, loop: Loop) -> None:
        """The loop reached has no finished iteration: its first one begins again."""
        self._level_done(loop)

    def wind(self, loop: ForLoop) -> Any:
        """Pass over the loop's finished iterations; what stands for the last one's item is given.

        Raises:
            UsageError: There are fewer now.
        """
        assert loop.iterator is not None
        done = self.iteration + 1
        try:
            for _ in range(self.iteration):
                next(loop.iterator)
                loop.index += 1
            item = next(loop.iterator)
        except StopIteration:
            had = f"the loop at {loop.site.where} had done {done} iterations"
            self._refuse(f"{had}, now it has {loop.index + 1}")
            raise
        return stand_in(item, loop.site.shape)

    def put_back(self, names: dict[str, Any]) -> dict[str, Any]:
        """Put objects and values back, in place; what the frame must bind itself is returned.

        Raises:
            UsageError: They do not fit what is here.
        """
        loop = self._loops[-1]
        site = loop.site
        reach = Reach({} if site.module_level else names, site.module, table.beside(site.path))
        snapshot = self._snapshot.resolve()
        self._check_order()
        number = len(self._loops) - 1
        inner = number == len(self._levels) - 1
        anew = Constants(site).anew(goes_on=not inner) if not (inner and number) else frozenset()
        self._anew[number] = anew
        back = PutBack(reach, site.names, anew)
        if number == 0:
            folder = str(self._host.run.folder)
            self._origin = origin(loop, reach, Constants(site), folder)
            self._kept.update(reach.loaders.values())
        if inner:
            self._put_all(back, snapshot)
        else:
            level = snapshot.levels[number]
            back.made(level.get("made", {}))
            for path, record in _records_of(level, snapshot):
                back.make(path, record)
            live = {
                known: reach.objects[path]
                for path, known in level["aliases"].items()
                if path in reach.objects
            }
            back.known(live)
            back.settings(level["settings"])
            back.values(level["variables"], snapshot.objects)
            back.iterators(level["iterators"])
            back.generators(level["generators"])
            back.finish(level.get("made", {}))
            self._around |= {p: reach.objects[p] for p in level["objects"] if p in reach.objects}
        self._put = loop
        self._names = {**names, **back.given}
        return back.given

    def _put_all(self, back: PutBack, snapshot: Snapshot) -> None:
        """At the innermost head: what it is now, and what only the frames around know."""
        back.made(snapshot.position.get("made", {}))
        back.objects(snapshot.objects)
        live = dict(back.live)
        for number, level in enumerate(snapshot.levels):
            for path, fields in level.get("objects", {}).items():
                if path not in self._around:
                    if name_of(path) in self._anew[number]:
                        continue
                    raise misfit(f"it has {path}, and here is no place for it")
                live[path] = self._around[path]
                load_object(live[path], ObjectRecord(**fields))
        back.values(snapshot.variables, snapshot.objects)
        back.iterators(snapshot.position["iterators"])
        if snapshot.levels and self._host.taps is not None:
            back.passes(self._host.taps.feeds, snapshot.levels[-1])
        back.generators(snapshot.rng["generators"])
        back.finish(snapshot.position.get("made", {}))
        self._live = live
        optimizers = self.live("optimizers")
        if len(self._levels) > 1 and optimizers:
            self.optimizer = optimizers[0]

    def went_back(self, loop: Loop) -> bool:
        """At a head: whether it is one of the snapshot's. Random states come last."""
        if loop is not self._put or self.done:
            return False
        loop.index = self.iteration
        loop.first = loop.index + 1
        loop.samples = None
        self._put = None
        self._level_done(loop)
        return True

    def _level_done(self, loop: Loop) -> None:
        """The loop stands where it stood: what a checkpoint is to know of it is noted anew."""
        host = self._host
        number = len(self._loops) - 1
        self.done = number == len(self._levels) - 1
        rng.put(
            self._snapshot.rng["streams"]
            if self.done
            else self._snapshot.levels[number]["streams"]
        )
        loop.prologue = prologue.noted(host, loop, self._names if self.iteration >= 0 else None)
        self._names = {}
        if not self.done:
            self._await(number + 1)

    def _await(self, number: int) -> None:
        """The passes over DataLoaders that a level's loop draws from are to be taken up again."""
        taps, levels = self._host.taps, self._snapshot.levels
        if taps is None or number >= len(levels):
            return
        base = taps.feeds.count
        self._awaited = [(base + record["ordinal"], record) for record in levels[number]["passes"]]
        taps.feeds.awaited.update(self._awaited)

    def _check_order(self) -> None:
        """The loop's own DataLoaders go on with what they would have gone on with."""
        taps = self._host.taps
        for number, record in self._awaited if taps is not None else ():
            iterator = taps.feeds.iterator(number)  # type: ignore[union-attr] # it is not None here
            if iterator is None:
                raise misfit("the loop's DataLoader is not iterated over as it was")
            check_order(iterator, record)

    def _in_place(self, loop: Loop) -> bool:
        """Whether the loops around are the snapshot's, in the iteration that was running."""
        around, stack = self._loops[-1], self._host.stack
        level = self._levels[len(self._loops) - 1]
        return stack[-2:] == [around, loop] and around.index == level["iteration"] + 1

    def count(self, fit: Fit) -> None:
        """Give a fit the counters of the snapshot."""
        position = self.position
        # What was running begins again, and is counted as it does.
        fit.epoch = position["epoch"] - len(self._levels[:2])
        for name in ("epochs_done", "batches", "step", "validations"):
            setattr(fit, name, position[name])
        if position["samples"] is None:
            fit.samples = None
        elif len(self._levels) > 1 or fit.samples is not None:
            fit.samples = position["samples"] + (fit.samples or 0)

    def fit_began(self, fit: Fit) -> None:
        """The fit goes on."""
        life = self._host.life
        if len(self._levels) == 1:
            self._count_on()
        if life.events.on_resume is not None:
            life.events.on_resume(self._host.run, fit, self.position)

    def epoch_began(self, fit: Fit) -> None:
        """Its first epoch has begun, or goes on: then that start has been counted before."""
        fit.batch = self.position.get("batch", 0) - 1
        if len(self._levels) > 1:
            self._count_on()

    def _count_on(self) -> None:
        saved = self._snapshot.plugins.items()
        self._host.life.dispatch.count_on({name: of.get("counted", {}) for name, of in saved})

    def check_batches(self, loop: Loop) -> None:
        """The fit's loop over batches is known, before its first step.

        Raises:
            UsageError: They are of another size now.
        """
        if "batch_sizes" in self.position:  # which older checkpoints lack
            sizes = self.position["batch_sizes"]
            difference = changed({"sizes": sizes}, loop)
            if difference is not None and self._is_own_change(sizes, loop):
                self._host.run.say(f"{difference}: the loop's own change, for nothing else is new")
            else:
                self._refuse(difference)
            self._host.heads.went_on(sizes)

    def _is_own_change(self, sizes: Any, loop: Loop) -> bool:
        """Whether the loop made batches of another size, from where it went on."""
        then, now = self.position.get("origin"), self._origin
        if not then or not now or self._snapshot.header.argv != tuple(self._host.run.argv):
            return False
        taps = self._host.taps
        drawn_from = [] if taps is None else taps.loaders(loaders_in(loop.iterable))
        there = any(loader in self._kept for loader in drawn_from)
        return not there and is_own_change(then, now, sizes, loop)

    def _refuse(self, difference: str | None) -> None:
        if difference is None:
            return
        then, now = (" ".join(argv) for argv in (self._snapshot.header.argv, self._host.run.argv))
        if then != now:
            difference += f"\narguments then: {then or 'none'}; now: {now or 'none'}"
        raise UsageError("this checkpoint belongs to a run with other loops", difference, FRESH)

    def missed(self, fit: Fit) -> None:
        """Another fit begins.

        Raises:
            UsageError: It stands where the checkpoint's should.
        """
        if fit.index >= self.position["fit"]:
            raise UsageError("this checkpoint belongs to another run", self._unreached, FRESH)

    def live(self, group: str) -> tuple[Any, ...]:
        """The fit's objects, once everything is back.

        Args:
            group: ``"models"`` or ``"optimizers"``.
        """
        found = (self._live.get(path) for path in self.position.get(group, ()))
        return tuple(thing for thing in found if thing is not None)

    def ended(self, run: Run) -> None:
        """The run is over, and no fit has taken the checkpoint."""
        if self.done:
            run.complete = True
        else:
            run.fail(f"nothing was resumed: {self._unreached}")

    @property
    def _unreached(self) -> str:
        if self.weights_only:
            return "no training loop was recognised"
        level = self._levels[min(len(self._loops), len(self._levels) - 1)]
        path, line = level["site"][0], level["line"]
        return f"the loop at {path}:{line}, which it was saved in, was not reached"

    def load_weights(self, fit: Fit) -> None:
        """With ``--resume-mode weights``: what fits of the models' weights into a fresh fit.

        It happens at the first step, whose gradients are those of the weights that go: they become
        zero.

        Raises:
            UsageError: Nothing of them fits.
        """
        records = {record.name: record for record in self._snapshot.objects}
        taken, left = 0, []
        for model, name in zip(fit.models, self.position["models"], strict=False):
            if name not in records:
                continue  # a part of another
            count, misfits = take_weights(model, records[name])
            taken += count
            left += misfits
        if not taken:
            why = left[0] if left else "it holds no model's weights"
            raise UsageError("no weight of this checkpoint fits", why, AFRESH)
        for parameter in (p for model in fit.models for p in model.parameters()):
            if parameter.grad is not None:
                parameter.grad.zero_()
        if left:
            more = [f"and {len(left) - 5} more"] if len(left) > 5 else []
            lines = "".join(f"\n    {line}" for line in [*left[:5], *more])
            self._host.run.warn(
                f"{taken} weights of the checkpoint were taken; not taken were:{lines}"
            )
        self.done = True

    def _load_plugins(self) -> None:
        for record in self._host.run.plugins:
            load = getattr(record.plugin, "load_state_dict", None)
            saved = self._snapshot.plugins.get(record.name, {})
            if record.status != "active" or load is None or "state" not in saved:
                continue
            try:
                load(saved["state"])
            except Exception as error:  # noqa: BLE001 - whatever another version left there
                self._host.run.warn(
                    f"plugin {record.label} cannot take its state back and starts fresh\n"
                    f"    {type(error).__name__}: {error}"
                )

    def _check_code(self, now: dict[str, str], *, all_of_them: bool = True) -> None:
        then = self.position["digests"]
        compared = {*then, *now} if all_of_them else then.keys() & now.keys()
        changed = sorted(path for path in compared if then.get(path) != now.get(path))
        if changed:
            raise UsageError(
                "this checkpoint belongs to other code",
                f"changed since it was written: {', '.join(changed)}",
                FRESH,
            )


def _records_of(
    level: Mapping[str, Any], snapshot: Snapshot
) -> Iterator[tuple[str, ObjectRecord]]:
    """The objects that a frame around knows, by the paths that it knows them by."""
    inner = {record.name: record for record in snapshot.objects}
    for path, known in level["aliases"].items():
        if known in inner:
            yield path, inner[known]
    for path, fields in level["objects"].items():
        yield path, ObjectRecord(**fields)
