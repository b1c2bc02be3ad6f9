"""The witness's ear in a run: checkpoints, stops and changes of the rate, as any plugin hears."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hookcore.hookspecs import hookimpl
from hookcore.plain.witness.ledger import Ledger

if TYPE_CHECKING:
    from hookcore.plain.witness.watch import Watch
    from hookcore.training import Fit, Run


class Witness:
    """Writes down what only hookcore knows: where things stand in the uninterrupted run.

    Args:
        ledger: Takes it.
        watch: Knows the number of the moment.
    """

    name = "witness"

    def __init__(self, ledger: Ledger, watch: Watch) -> None:
        self._ledger = ledger
        self._watch = watch

    def about(self, run: Run) -> str:
        """What it does."""
        del run
        return "writes down what the comparison is made of"

    @hookimpl
    def on_train_start(self, run: Run, fit: Fit) -> None:
        """A training has been recognised; whether it could be resumed."""
        verdict = run.capture_verdict()
        self._write("fit", index=fit.index, where=fit.where("batch"), verdict=verdict)

    @hookimpl
    def on_checkpoint_save(self, snapshot: Any) -> None:
        """A checkpoint is taken here."""
        key = self._watch.position_key(snapshot.position)
        self._write("capture", key=key, resumable="site" in snapshot.position)

    @hookimpl
    def on_checkpoint_load(self, run: Run, path: Path) -> None:
        """A checkpoint has been read; the host knows when all of it has been put back."""
        self._watch.expect(run.control.host.pending)  # type: ignore[attr-defined] # of the plain one
        self._write("load", name=path.name)

    @hookimpl
    def on_stop(self, reason: str, by: str) -> None:
        """Somebody ends the training."""
        self._write("intervention", by=by, what=f"stopped the training: {reason}", lr=False)

    @hookimpl
    def on_lr_change(self, run: Run, group: int, old: float, new: float) -> None:
        """Somebody changes a rate; who, is the holder of the rate as far as hookcore knows."""
        what = f"changed the learning rate of group {group} from {old:.4g} to {new:.4g}"
        self._write("intervention", by=run.holder("lr") or "the loop", what=what, lr=True)

    def _write(self, kind: str, **content: Any) -> None:
        n, step = self._watch.place
        self._ledger.write(kind, n=n, step=step, **content)
