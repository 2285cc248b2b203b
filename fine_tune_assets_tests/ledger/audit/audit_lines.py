"""Lines of the request audit."""

from datetime import UTC, datetime

from fine_tune_assets.ledger.audit.request_log import RequestEntry

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def a_line(number: int, at: datetime = NOW) -> RequestEntry:
    return RequestEntry(at, f"key:{number}", "/v1/chat/completions", 200, None, "r-1", 10, number, 5, "0f", None)
