"""Windows of requests."""

from datetime import UTC, datetime
from typing import Any

from fine_tune_assets.drift.drift_metrics import Window
from fine_tune_assets.drift.exchange_features import FeatureSums

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def window_of(corrections: dict[str, int] | None = None, **sums: Any) -> Window:
    return Window(NOW, NOW, FeatureSums(**{"requests": 100, **sums}), corrections or {})
