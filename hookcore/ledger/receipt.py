"""The ledger as lines."""

from __future__ import annotations

from collections.abc import Iterator

from hookcore.ledger.ledger import Ledger


def receipt(ledger: Ledger) -> str:
    """A headline, one row a plugin and event, and what the columns mean where it is not plain."""
    unit, number = _counted(ledger)
    head = ("plugin", "event", "calls", "us each", f"us a {unit}", "share", "reads")
    table = [head, *_rows(ledger, number)]
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
    for record, share, rest in ledger.over_budget():
        if rest is not None:
            rested = f"{rest.rested} of {rest.batches} batches"
            yield f"{record.name} rested in {rested} to keep its budget"
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
    unit, number = _counted(ledger)
    units = unit if number == 1 else f"{unit}{'es' if unit == 'batch' else 's'}"
    each = ledger.training_ns / 1e3 / max(number, 1)
    plugins = {account.plugin for account in ledger.accounts} - {"hookcore"}
    taken = sum(map(ledger.taken, plugins)) / ledger.training_ns
    data = "not known (no `for` over data)"
    if ledger.data.calls:
        data = percent(ledger.data.ns / ledger.training_ns)
    return (
        f"cost: {number} {units} in {ledger.training_ns / 1e9:.1f} s, "
        f"{each:.0f} us each; waiting for data: {data}; plugins: {percent(taken)}"
    )


def _counted(ledger: Ledger) -> tuple[str, int]:
    """What the training's time is divided by: of loops that are not seen only the steps are."""
    return ("batch", ledger.batches) if ledger.batches else ("step", ledger.steps)


def _rows(ledger: Ledger, number: int) -> Iterator[tuple[str, ...]]:
    for account in ledger.accounts:
        inside = account.training_ns if ledger.training_ns else 0
        yield (
            account.plugin,
            account.event,
            str(account.calls),
            f"{account.ns / 1e3 / account.calls:.1f}",
            f"{inside / 1e3 / number:.2f}" if inside and number else "-",
            f"{inside / ledger.training_ns:.2%}" if inside else "-",
            str(account.reads),
        )
