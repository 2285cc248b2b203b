"""201 means that it is on disk, whatever becomes of the gateway a moment later."""

from pathlib import Path

import pytest

from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.running_server import free_port
from fine_tune_assets_tests.gateway.durability import post_under_kills

POSTS, KILLS = 300, 4


@pytest.mark.slow
def test_a_gateway_that_is_killed_loses_nothing_it_acknowledged_and_keeps_nothing_twice(tmp_path: Path) -> None:
    """Users write a better answer once. The 10,000 of `make bench-corrections`, with fewer posts."""
    outcome = post_under_kills(
        Settings(data_dir=tmp_path, gateway={"port": free_port()}), POSTS, KILLS, clients=8, seed=20260101
    )
    assert outcome.kills == KILLS
    assert outcome.sent_again > 0  # the kills hit something
    assert len(outcome.acknowledged) == POSTS
    assert len(set(outcome.acknowledged.values())) == POSTS
    assert (outcome.lost, outcome.twice) == (0, 0)
