"""An attribute of somebody else's class or module, replaced for a while."""

from __future__ import annotations

from typing import Any

_ABSENT = object()


class Replaced:
    """One attribute that is replaced, until it is put back.

    What the user has put in its place meanwhile is the user's, and stays. It may go on calling
    ours, which has to do nothing but pass the call on when nobody wants to hear of it.

    Args:
        owner: The class or module.
        name: The attribute.
        ours: What stands there from now on.
    """

    def __init__(self, owner: Any, name: str, ours: Any) -> None:
        self.owner, self.name, self.ours = owner, name, ours
        self._original = vars(owner).get(name, _ABSENT)
        setattr(owner, name, ours)

    def exchange(self, ours: Any) -> None:
        """Put another one of ours in the place of the first, where that one stands."""
        if self._stands(self.ours):
            setattr(self.owner, self.name, ours)
            self.ours = ours

    def put_back(self) -> bool:
        """Put the original back; False where something of the user's stands there."""
        if not self._stands(self.ours):
            return self._stands(self._original)
        if self._original is _ABSENT:
            delattr(self.owner, self.name)
        else:
            setattr(self.owner, self.name, self._original)
        return True

    def put_again(self) -> bool:
        """Replace it once more where the user has put the original back; whether that was so."""
        if not self._stands(self._original):
            return False
        setattr(self.owner, self.name, self.ours)
        return True

    def _stands(self, value: Any) -> bool:
        return vars(self.owner).get(self.name, _ABSENT) is value
