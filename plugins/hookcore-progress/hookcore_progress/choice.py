"""Which metrics are worth the room."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

MOST = 6

_LOSS = re.compile(r"loss|nll|perplexity|(^|_)(ppl|ce|bce|mse|mae|rmse|elbo)($|_)", re.IGNORECASE)
_SCORE = re.compile(
    r"acc|auc|(^|_)(f1|iou|miou|bleu|rouge|top1|top5|dice|map|psnr|ssim|r2|error|err|score|reward)($|_)",
    re.IGNORECASE,
)


def choose(names: Sequence[str], validated: Iterable[str] = ()) -> tuple[str, ...]:
    """The names to show where the user names none: losses, and what validations gave.

    Losses of the training come first, in their order of arrival; then a validation's losses and
    scores. Other values of a validation (sums, counters) are shown only where it has neither.

    Args:
        names: All that have arrived, in the order of their first arrival.
        validated: Those that arrived in a validation.
    """
    inside = set(validated)
    losses = [name for name in names if name not in inside and _is(_LOSS, name)]
    telling = [n for n in names if n in inside and (_is(_LOSS, n) or _is(_SCORE, n))]
    telling.sort(key=lambda name: not _is(_LOSS, name))
    if not telling:
        telling = [name for name in names if name in inside]
    return (*losses, *telling)[:MOST]


def _is(kind: re.Pattern[str], name: str) -> bool:
    # "evaluate.total_loss": the part before the dot is where a variable of that name lives.
    return kind.search(name.rpartition(".")[2]) is not None
