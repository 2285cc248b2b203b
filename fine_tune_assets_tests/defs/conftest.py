"""What tests of the graph share."""

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _no_instance_of_another_test() -> Iterator[None]:
    """Dagster 1.13 remembers the storage of an instance even if two instances were exited in a different order than they were
    entered. Definitions would then read from an instance that no longer exists."""
    from dagster._core.storage.defs_state.base import set_defs_state_storage

    with set_defs_state_storage(None):
        yield
