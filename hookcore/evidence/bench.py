"""Where scripts are run to be compared: each time anew, in a copy at the same place."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import attrs

from hookcore.evidence.account import Account
from hookcore.scratch import Copy, InPlace, Workplace, attempt

if TYPE_CHECKING:
    from typing_extensions import Self

_CHILD = "hookcore.plain.witness.child"


@attrs.frozen(kw_only=True)
class Subject:
    """What is run, as it was typed.

    Attributes:
        name: The script's path or the module's name.
        argv: Its arguments.
        is_module: Whether it is a module.
        folders: The working folder, and those that the script's code lies in.
        plugins: The texts of ``-p``.
        options: The texts of ``-o``.
        keepers: Active plugins that keep checkpoints and can be told where.
        steps: Steps after which a run is left, or None.
        timeout: Seconds that one run may take.
        in_place: Whether it runs in the folders themselves.
        max_copy: Megabytes that may be copied.
        ignored: Names of variables that are not compared.
    """

    name: str
    argv: tuple[str, ...]
    is_module: bool
    folders: Sequence[Path]
    plugins: tuple[str, ...]
    options: tuple[str, ...]
    keepers: tuple[str, ...]
    steps: int | None
    timeout: float
    in_place: bool
    max_copy: int
    ignored: tuple[str, ...]


@attrs.frozen
class Kill:
    """A death by SIGKILL.

    Attributes:
        step: The step's number, from 1.
        after: Whether the step is finished first, or is cut off in its middle.
    """

    step: int
    after: bool = False

    def __str__(self) -> str:
        return f"{self.step}+" if self.after else str(self.step)

    @property
    def words(self) -> str:
        """When it happens."""
        return f"after step {self.step}" if self.after else f"in the middle of step {self.step}"


class Bench:
    """Runs one subject again and again, and keeps what is no part of its folders elsewhere.

    Args:
        subject: What is run.

    Attributes:
        by_hand: Whether the script trains without an optimizer; known after its first run.
        runs: How many runs there were.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._home = Path()
        self._place: Workplace | None = None
        self.by_hand = False
        self.runs = 0

    def __enter__(self) -> Self:
        self._home = Path(tempfile.mkdtemp(prefix="hookcore-")).resolve()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove everything."""
        shutil.rmtree(self._home, ignore_errors=True)

    @contextlib.contextmanager
    def fresh(self) -> Iterator[Workplace]:
        """The user's folders as they are, and no checkpoint: one script's life, kills and all.

        Raises:
            UsageError: There is more to copy than is allowed.
        """
        subject = self._subject
        shutil.rmtree(self._home / "checkpoints", ignore_errors=True)
        place = (
            InPlace(subject.folders)
            if subject.in_place
            else Copy(subject.folders, subject.max_copy, self._home / "copy")
        )
        with place:
            self._place = place
            yield place
        self._place = None

    def run(
        self,
        *,
        bare: bool = False,
        resume: bool = False,
        kill: Kill | None = None,
        captured: Mapping[str, Sequence[int]] | None = None,
    ) -> Account:
        """Run the script in the fresh place.

        Args:
            bare: With ``HOOKCORE=0``, which is to say without hookcore.
            resume: With ``--resume``.
            kill: When it dies.
            captured: Checkpoints of the runs before, to the moments and steps before them.
        """
        assert self._place is not None
        self.runs += 1
        here = self._home / f"run-{self.runs}"
        here.mkdir()
        ledger, output, errors, stack = (
            here / name for name in ("ledger", "output", "errors", "stack")
        )
        outcome = attempt(
            _CHILD,
            self._request(ledger, stack, resume=resume, kill=kill, captured=captured or {}),
            folder=self._place.inside(Path.cwd()),
            output=output,
            errors=errors,
            stack=stack,
            limit=self._subject.timeout,
            variables={"HOOKCORE_RESUME": "0", **({"HOOKCORE": "0"} if bare else {})},
        )
        printed, said = (
            self._place.shown(file.read_text(errors="replace")) for file in (output, errors)
        )
        account = Account.read(ledger, outcome, printed, said)
        shutil.rmtree(here)
        return account

    def _request(
        self,
        ledger: Path,
        stack: Path,
        *,
        resume: bool,
        kill: Kill | None,
        captured: Mapping[str, Sequence[int]],
    ) -> str:
        subject, place = self._subject, self._place
        assert place is not None
        kept = self._home / "checkpoints"
        return json.dumps(
            {
                "target": subject.name if subject.is_module else place.typed(subject.name),
                "argv": [place.typed(argument) for argument in subject.argv],
                "is_module": subject.is_module,
                "plugins": subject.plugins,
                "options": [
                    *subject.options,
                    *(f"{name}.directory={kept / name}" for name in subject.keepers),
                ],
                "resume": resume,
                "places": {str(folder): str(copy) for folder, copy in place.places.items()},
                "folder": str(Path.cwd()),
                "ledger": str(ledger),
                "stack": str(stack),
                "by_hand": self.by_hand,
                "last": subject.steps,
                "kill": None if kill is None else [kill.step, kill.after],
                "captured": captured,
                "ignored": subject.ignored,
            }
        )
