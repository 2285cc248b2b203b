"""Nothing leaves: the whole graph runs where only loopback exists, with the same result."""

from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets_tests.end_to_end.conftest import Small

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
ONLY_LOOPBACK = ("unshare", "-rn", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")


def test_the_graph_gives_the_same_release_without_a_network(
    served: tuple[Small, dict[str, Any]], tmp_path: Path, smollm2: Path
) -> None:
    """Equal release ids mean equal weights, prompt and evidence: nothing came from outside, and nothing was missed."""
    alone = Small(tmp_path, smollm2)
    printed = alone.run_whole_graph(prefix=ONLY_LOOPBACK)
    assert not printed["reaches_outside"]
    assert printed["release"] == served[1]["release"]
    assert printed["answer"] == served[1]["answer"]
