"""A checkpoint that waits for its loop, and is put back there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hookcore.errors import UsageError
from hookcore.plain import rng, table
from hookcore.plain.putback import AFRESH, FRESH, PutBack, take_weights
from hookcore.plain.reach import Reach
from hookcore.plain.state import digests, site_key

if TYPE_CHECKING:
    from hookcore.plain.adapter import Plain
    from hookcore.plain.sites import Loop
    from hookcore.snapshot import Snapshot
    from hookcore.training import Fit, Run


class Pending:
    """Continues a run from a snapshot.

    The script runs from its start. When the snapshot's loop is reached, its finished iterations
    are passed over without their bodies; in place of the last one's body everything is put back,
    in place; at the head after it, random states come last.

    Attributes:
        iteration: Index of the loop's last finished iteration.
        position: The snapshot's position.
        done: Whether everything is back.
    """

    def __init__(self, host: Plain, snapshot: Snapshot) -> None:
        self._host = host
        self._snapshot = snapshot
        self._loop: Loop | None = None
        self._restored = False
        self._checked: set[str] = set()
        self.position = snapshot.position
        self.weights_only = host.run.resume == "weights"
        self.done = False
        if not self.weights_only and "site" not in snapshot.position:
            raise UsageError(
                "this checkpoint cannot be resumed from",
                f"it was taken in mid-epoch ({snapshot.header.reason})",
                FRESH,
            )
        self.iteration: int = snapshot.position.get("iteration", 0)
        if not self.weights_only:
            self._load_plugins()

    def reached(self, loop: Loop) -> bool:
        """Whether this is the entry of the loop that the snapshot was taken in.

        Raises:
            UsageError: It is, but the code has changed since.
        """
        if self._loop is not None or self.weights_only:
            return False
        folder = str(self._host.run.folder)
        if loop.site.path not in self._checked:
            self._checked.add(loop.site.path)
            self._check_code(digests(loop, folder), all_of_them=False)
        if site_key(loop, folder) != list(self.position["site"]):
            return False
        if self._host.entries[loop.site.id] != self.position["entry"]:
            return False
        self._check_code(digests(loop, folder))
        self._loop = loop
        return True

    def put_back(self, names: dict[str, Any]) -> dict[str, Any]:
        """Put objects and values back, in place; what the frame must bind itself is returned.

        Raises:
            UsageError: They do not fit what is here.
        """
        assert self._loop is not None
        site = self._loop.site
        reach = Reach({} if site.module_level else names, site.module, table.beside(site.path))
        back = PutBack(reach, site.names)
        back.everything(self._snapshot.resolve())
        self._restored = True
        return back.given

    def went_back(self, loop: Loop) -> bool:
        """At a head: whether it is the one the snapshot was taken at. Random states come last."""
        if loop is not self._loop or self.done or not self._restored:
            return False
        loop.index = self.iteration
        loop.first = loop.index + 1
        rng.put(self._snapshot.rng["streams"])
        self.done = True
        return True

    def count(self, fit: Fit) -> None:
        """Give a fit the counters of the snapshot."""
        position = self.position
        fit.epoch = position["epoch"] - 1
        for name in ("epochs_done", "batches", "step", "validations"):
            setattr(fit, name, position[name])
        if fit.samples is not None and position["samples"] is not None:
            fit.samples += position["samples"]

    def missed(self, fit: Fit) -> None:
        """Another fit begins.

        Raises:
            UsageError: It stands where the checkpoint's should.
        """
        if fit.index >= self.position["fit"]:
            raise UsageError("this checkpoint belongs to another run", self._unreached, FRESH)

    def over(self, run: Run) -> None:
        """Its loop is over, and nothing of it was left to train; other fits may follow."""
        run.complete = True
        run.fits = self.position["fit"] + 1

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
        path, line = self.position["site"][0], self.position["line"]
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
            saved = self._snapshot.plugins.get(record.name)
            if record.status != "active" or load is None or saved is None:
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
