"""What a metric's name tells: loss or score, of a validation or of training."""

from __future__ import annotations

import re
from typing import Literal

Direction = Literal["min", "max"]

_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+\d*|[A-Z]+\d*|\d+")
_ERRORS = frozenset(
    (
        "nll", "err", "error", "errors", "ppl", "perplexity", "wer", "cer", "eer", "mse",
        "mae", "rmse", "rmsle", "mape", "ce", "bce", "crossentropy", "kl", "kld", "fid",
        "bpc", "bpb", "brier",
    )
)
_SCORES = frozenset(
    (
        "acc", "accuracy", "accuracies", "f1", "fscore", "fbeta", "auc", "auroc", "rocauc",
        "roc", "aupr", "auprc", "prauc", "precision", "recall", "map", "ap", "iou", "miou",
        "dice", "bleu", "rouge", "meteor", "psnr", "ssim", "r2", "score", "scores", "correct",
        "reward", "rewards", "mcc", "kappa", "top1", "top5", "ndcg", "mrr", "hits",
        "sensitivity", "specificity",
    )
)
_HELD_OUT = dict.fromkeys(("val", "valid", "validation"), 0)
_HELD_OUT |= dict.fromkeys(("dev", "eval", "evaluation", "holdout", "heldout"), 1)
_HELD_OUT |= dict.fromkeys(("test", "tst"), 2)
_PREFIX = re.compile(r"(?:train|validation|valid|val|test|eval|dev)(?=[a-z])")
# What a loop keeps about a metric, rather than a metric: "best_loss" arrives only when it falls.
_ABOUT_METRICS = frozenset(
    (
        "best", "prev", "previous", "last", "old", "min", "max", "lowest", "highest",
        "threshold", "thresh", "weight", "weights", "coef", "scale", "patience", "delta",
        "target", "std", "var", "train", "training", "trn",
    )
)


def words_of(name: str) -> list[str]:
    """The words of a name, in lower case: ``"test.valLoss_1"`` has test, val, loss and 1."""
    joined = re.sub(r"(?i)cross[_.\- ]?entropy", "crossentropy", name)
    return [word.lower() for word in _WORD.findall(joined)]


def is_held_out(name: str) -> bool:
    """Whether a name says that it comes from a validation: val, valid, dev, eval, test."""
    return any(word in _HELD_OUT for word in words_of(name))


def direction_of(name: str) -> Direction | None:
    """Which way a metric improves, by its name; None where the name does not tell.

    The last word that tells decides, as in English: an ``accuracy_loss`` is a loss.
    """
    for word in reversed(words_of(name)):
        if _is_loss(word) or _bare(word) in _ERRORS:
            return "min"
        if _bare(word) in _SCORES:
            return "max"
    return None


def tier_of(name: str) -> Literal["loss", "error", "score"] | None:
    """Which kind of metric a name tells of; None where it does not."""
    if direction_of(name) == "max":
        return "score"
    told = [word for word in words_of(name) if _is_loss(word) or _bare(word) in _ERRORS]
    return None if not told else "loss" if _is_loss(told[-1]) else "error"


def rank_of(name: str) -> tuple[int, int, int] | None:
    """Place among the names to choose from, the lowest first; None for one not to choose."""
    tier, words = tier_of(name), words_of(name)
    if tier is None or _ABOUT_METRICS.intersection(words):
        return None
    prefixes = (match[0] for word in words if (match := _PREFIX.match(word)))
    places = [_HELD_OUT[word] for word in (*words, *prefixes) if word in _HELD_OUT]
    return ("loss", "error", "score").index(tier), min(places, default=3), len(words)


def _is_loss(word: str) -> bool:
    return "loss" in word


def _bare(word: str) -> str:
    """A word without its number and what is glued before it: ``valacc5`` is acc."""
    if word in _ERRORS or word in _SCORES:
        return word
    return _PREFIX.sub("", word.rstrip("0123456789"), count=1)
