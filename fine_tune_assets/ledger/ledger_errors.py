"""Errors of the ledger. Messages contain ids and kinds, never report text."""

from fine_tune_assets.core.errors import FineTuneError


class LedgerError(FineTuneError):
    """The ledger refused an operation or is unusable."""


class SealError(LedgerError):
    """A row that decides was added or changed by other means than this program. It is refused."""

    def __init__(self, table: str, row: str) -> None:
        super().__init__(
            f"The row {row} of the ledger's table {table} was added or changed outside this installation, so it is refused. Find "
            "out who can write to the database, and restore it from a backup. `fine-tune audit verify` lists all such rows."
        )
        self.table, self.row = table, row


class UnknownRecordError(LedgerError):
    """The row does not exist."""


class TransitionError(LedgerError):
    """The deployment can't change from its current state to the requested one."""


class IdempotencyError(LedgerError):
    """The idempotency key was already used with different content."""


class DailyLimitError(LedgerError):
    """The author reached the daily limit."""


class OwnCorrectionError(LedgerError):
    """An approver may not decide on a correction that they sent."""
