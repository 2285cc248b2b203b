"""What tests of the graph share."""

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _no_instance_of_another_test() -> Iterator[None]:
    """Dagster 1.13 remembers the storage of an instance that was entered, also when two were left in another order than they were
    entered in; definitions then ask an instance that is gone."""
    from dagster._core.storage.defs_state.base import set_defs_state_storage

    with set_defs_state_storage(None):
        yield
