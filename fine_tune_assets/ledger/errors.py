"""What can go wrong in the ledger, said for people. Messages hold ids and kinds, never text of a report."""

from fine_tune_assets.core.errors import FineTuneError


class LedgerError(FineTuneError):
    """The ledger refused what was asked of it, or can't be used."""


class UnknownRecordError(LedgerError):
    """There is no such row."""


class TransitionError(LedgerError):
    """A deployment can't go from its state to that one."""


class IdempotencyError(LedgerError):
    """The same idempotency key came with another content."""


class TooManyError(LedgerError):
    """An author sent as much as one may send in a day."""


class OwnCorrectionError(LedgerError):
    """Nobody decides about a correction that they sent."""
