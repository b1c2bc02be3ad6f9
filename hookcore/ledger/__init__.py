"""What plugins cost: calls, time and reads of tensors by plugin and event, and a budget for them.

There is a ledger only where the user asked for one; dispatch then freezes measured hooks in the
place of bare ones. Without it nothing here runs.
"""

from hookcore.ledger.ledger import Ledger
from hookcore.ledger.receipt import receipt, resting

__all__ = ["Ledger", "receipt", "resting"]
