"""Workers of one graph run are forked: a step notices no difference."""

import signal
import time
from collections.abc import Iterator, Mapping

import dagster as dg
import pytest

from fine_tune_assets.core.processes.fork_server import ForkServer, fork_server, reserve_server
from fine_tune_assets.defs.platform import resources
from fine_tune_assets.defs.platform.resources import Worker

REQUEST = {"action": "nothing like that"}


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Exit codes of the workers that were forked, by a server that is ready."""
    codes: list[int] = []
    run = ForkServer.run

    def noted(server: ForkServer, module: str, environment: Mapping[str, str]) -> int:
        codes.append(run(server, module, environment))
        return codes[-1]

    monkeypatch.setattr(ForkServer, "run", noted)
    with fork_server(resources.WORKER_PRELOADS):
        deadline = time.monotonic() + 120
        while not _is_ready():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield codes


def _is_ready() -> bool:
    with reserve_server() as server:
        return server is not None


def _said() -> tuple[bool, str]:
    @dg.asset
    def merged(context: dg.AssetExecutionContext, worker: Worker) -> None:
        worker.run(context, "merging", REQUEST)

    result = dg.materialize([merged], resources={"worker": Worker()}, raise_on_error=False)
    errors = [event.step_failure_data.error for event in result.all_events if event.is_step_failure]
    return result.success, str(errors[0].message) if errors and errors[0] else ""


def test_a_forked_worker_says_what_a_started_one_says(forked: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    by_forked = _said()
    assert forked == [0]
    monkeypatch.setattr(ForkServer, "is_ready", False)
    assert _said() == by_forked
    assert forked == [0]
    assert "KeyError" in by_forked[1]


def test_a_forked_worker_that_was_killed_is_started_again(forked: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    run = ForkServer.run

    def killed_once(server: ForkServer, module: str, environment: Mapping[str, str]) -> int:
        return run(server, module, environment) if forked else (forked.append(-signal.SIGKILL) or forked[0])

    monkeypatch.setattr(ForkServer, "run", killed_once)
    assert "KeyError" in _said()[1]
    assert forked == [-signal.SIGKILL, 0]
