"""A 201 response means that the correction is on disk, even if the gateway is killed a moment later."""

from pathlib import Path

import pytest

from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.running_server import free_port
from fine_tune_assets_tests.gateway.durability import post_under_kills

POSTS, KILLS = 300, 4


@pytest.mark.slow
def test_a_killed_gateway_loses_and_duplicates_no_acknowledged_correction(tmp_path: Path) -> None:
    """As `make bench-corrections`, with fewer posts."""
    outcome = post_under_kills(
        Settings(data_dir=tmp_path, gateway={"port": free_port()}), POSTS, KILLS, clients=8, seed=20260101
    )
    assert outcome.kills == KILLS
    assert outcome.sent_again > 0  # the kills interrupted requests
    assert len(outcome.acknowledged) == POSTS
    assert len(set(outcome.acknowledged.values())) == POSTS
    assert (outcome.lost, outcome.twice) == (0, 0)
