"""A slice that is out of time leaves no engine on the card."""

import signal
from pathlib import Path

import pytest

from benchmarks.gpu_proof.serving_setup import SERVICES, Serving, running_gateway
from fine_tune_assets.serving.services import read_service_states


def running(serving: Serving) -> set[str]:
    return {state.name for state in read_service_states(serving.settings) if state.is_running}


@pytest.mark.slow
def test_services_stop_when_the_slice_is_out_of_time(tmp_path: Path) -> None:
    """Before anything else: an event loop with a running thread may not end in time."""
    before = signal.getsignal(signal.SIGTERM)
    with running_gateway(tmp_path, tmp_path, dry=True) as serving:
        assert running(serving) == set(SERVICES)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        assert running(serving) == set()
    assert signal.getsignal(signal.SIGTERM) == before
