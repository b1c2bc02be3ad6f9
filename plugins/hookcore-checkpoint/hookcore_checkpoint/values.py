"""Which checkpoint a value of the monitored metric is of: pure arithmetic over steps."""

from __future__ import annotations

import attrs


@attrs.define
class Values:
    """Values as they arrive, each with the step whose weights it was measured with.

    A loop may validate before it trains: its value is then of the checkpoint that lies there
    already, and not of the one that comes next. Where none lies there, the next one is the nearest.

    Attributes:
        late: Values that arrived for checkpoints which were there, by their numbers.
    """

    late: dict[int, float] = attrs.field(factory=dict)
    _value: float | None = None
    _step: int = -1
    _measured: int | None = None

    def start(self) -> None:
        """A fit begins."""
        self._value = self._measured = None

    def measured(self, step: int) -> None:
        """A validation is over, and its value comes later, perhaps after further steps."""
        self._measured = step

    def arrived(self, value: float, step: int, saved: int | None, number: int | None) -> None:
        """A value has arrived.

        Args:
            value: It.
            step: Optimizer updates so far.
            saved: The same at the last checkpoint, or None.
            number: That checkpoint's number.
        """
        step = step if self._measured is None else self._measured
        self._value, self._step, self._measured = value, step, None
        if number is not None and step == saved:
            self.late[number] = value

    def take(self, step: int, saved: int | None) -> float | None:
        """The value of a checkpoint that is taken now; it is of no other one.

        Args:
            step: Optimizer updates so far.
            saved: The same at the last checkpoint, or None.
        """
        value, self._value = self._value, None
        return None if self._step == saved != step else value

    def give_back(self, value: float | None) -> None:
        """That checkpoint was not written: the value is of the next one, unless another came."""
        if self._value is None:
            self._value = value

    def keep(self, numbers: frozenset[int]) -> None:
        """These checkpoints are still there."""
        self.late = {number: value for number, value in self.late.items() if number in numbers}
