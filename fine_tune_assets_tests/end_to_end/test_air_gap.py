"""Nothing leaves: the whole graph runs where only loopback exists, with the same result."""

import pytest

from fine_tune_assets_tests.end_to_end.conftest import WholeGraphs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


def test_the_graph_gives_the_same_release_without_a_network(whole_graphs: WholeGraphs) -> None:
    """Equal release ids mean equal weights, prompt and evidence: nothing came from outside, and nothing was missed."""
    alone = whole_graphs.printed_alone
    assert not alone["reaches_outside"]
    assert alone["release"] == whole_graphs.printed["release"]
    assert alone["answer"] == whole_graphs.printed["answer"]
