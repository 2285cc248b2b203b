"""A worker that is killed, of whatever stage: judging and merging take as long as a small training, and the loop has no hands."""

from typing import Any

import dagster as dg
import pytest

from fine_tune_assets.defs.platform.resources import Worker

_KILLED: list[str] = []


class Dying(Worker):
    """Its process is killed as often as `deaths` says; then it gives a result."""

    deaths: int

    def run_once(self, context: dg.AssetExecutionContext, *args: Any, **kwargs: Any) -> dict[str, Any]:  # noqa: ARG002
        if len(_KILLED) < self.deaths:
            _KILLED.append(context.run_id)
            dg.PipesSubprocessClient().run(context=context, command=["sh", "-c", "kill -9 $$"])
        return {"merged": True}


class Refusing(Worker):
    def run_once(self, context: dg.AssetExecutionContext, *args: Any, **kwargs: Any) -> dict[str, Any]:  # noqa: ARG002
        _KILLED.append(context.run_id)
        raise dg.Failure("GateClosedError: Merging changed the model.", allow_retries=False)


def _run(worker: Worker) -> bool:
    @dg.asset
    def merged(context: dg.AssetExecutionContext, worker: Worker) -> None:
        worker.run(context, "merging", {})

    _KILLED.clear()
    return dg.materialize([merged], resources={"worker": worker}, raise_on_error=False).success


@pytest.mark.parametrize(("deaths", "is_made"), [(1, True), (3, False)])
def test_a_killed_worker_is_started_again_twice(deaths: int, is_made: bool) -> None:
    """Another program may have used the memory briefly. A worker that is killed every time does not fit."""
    assert _run(Dying(deaths=deaths)) is is_made
    assert len(_KILLED) == deaths


def test_what_a_worker_says_itself_is_not_tried_again() -> None:
    """It would say the same, an hour later."""
    assert not _run(Refusing())
    assert len(_KILLED) == 1
