"""The ledger as lines."""

from __future__ import annotations

from collections.abc import Iterator

from hookcore.ledger.ledger import Ledger

_HEAD = ("plugin", "event", "calls", "us each", "us a batch", "share", "reads")


def receipt(ledger: Ledger) -> str:
    """A headline, one row a plugin and event, and what the columns mean where it is not plain."""
    table = [_HEAD, *_rows(ledger)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [_headline(ledger)]
    for row in table:
        names = (cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True))
        numbers = (cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True))
        lines.append(f"    {'  '.join((*names, *numbers))}")
    if len(table) == 1:
        lines[1:] = ["    no plugin was called"]
    if any(account.reads for account in ledger.accounts):
        lines.append(
            "  reads: values of tensors that a hook asked for; on an accelerator each one waits"
        )
    return "\n".join(lines)


def resting(ledger: Ledger) -> Iterator[str]:
    """One line for each plugin that took more than its budget."""
    for record, share, rested in ledger.over_budget():
        if rested:
            yield f"{record.name} rested in {rested} of {ledger.batches} batches to keep its budget"
        else:
            yield (
                f"{record.name} took {percent(share)} in batches, more than the budget; "
                f"it is no observer ({record.role}) and never rests"
            )


def percent(share: float) -> str:
    """A share as people read it: ``12%``, ``0.34%``."""
    return f"{100 * share:.2g}%" if share < 0.1 else f"{100 * share:.0f}%"


def _headline(ledger: Ledger) -> str:
    if not ledger.training_ns:
        return "cost: no training was recognised; what ran beside it:"
    each = ledger.training_ns / 1e3 / max(ledger.batches, 1)
    plugins = {account.plugin for account in ledger.accounts} - {"hookcore"}
    taken = sum(map(ledger.taken, plugins)) / ledger.training_ns
    data = "not known (no `for` over it)"
    if ledger.data.calls:
        data = percent(ledger.data.ns / ledger.training_ns)
    return (
        f"cost: {ledger.batches} batches in {ledger.training_ns / 1e9:.1f} s, "
        f"{each:.0f} us each; waiting for data: {data}; plugins: {percent(taken)}"
    )


def _rows(ledger: Ledger) -> Iterator[tuple[str, ...]]:
    for account in ledger.accounts:
        share = account.ns / ledger.training_ns if ledger.training_ns else None
        yield (
            account.plugin,
            account.event,
            str(account.calls),
            f"{account.ns / 1e3 / account.calls:.1f}",
            f"{account.ns / 1e3 / ledger.batches:.2f}" if ledger.batches else "-",
            "-" if share is None else f"{100 * share:.2f}%",
            str(account.reads),
        )
