"""A run that waits for the GPU's pool leaves the cores to the run that has it."""

import threading
import time

import dagster as dg
import pytest
from dagster._core.execution.plan.active import ActiveExecution
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext

from fine_tune_assets.defs.platform.dagster_compat import sleep_while_waiting

HELD_SECONDS = 4.0


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When the executor looked for a step that it may start."""
    found: list[float] = []
    asked = ActiveExecution.get_steps_to_execute

    def counted(self: ActiveExecution, limit: int | None = None) -> object:
        found.append(time.monotonic())
        return asked(self, limit)

    monkeypatch.setattr(ActiveExecution, "get_steps_to_execute", counted)
    return found


def test_a_run_that_waits_for_its_pool_looks_now_and_then_and_starts_when_there_is_room(looks: list[float]) -> None:
    """Else it spins: tens of thousands of looks a second, and the training that it waits for has half of two cores."""
    sleep_while_waiting()

    @dg.asset(pool="gpu")
    def adapters() -> None:
        pass

    with dg.instance_for_test(
        overrides={"concurrency": {"pools": {"default_limit": 1, "granularity": "op"}}}
    ) as instance:
        instance.event_log_storage.initialize_concurrency_limit_to_default("gpu")
        holder = InstanceConcurrencyContext(instance, dg.DagsterRun(job_name="training", run_id="holder"))
        with holder:
            assert holder.claim("gpu", "training")
            job = dg.Definitions(assets=[adapters]).resolve_implicit_global_asset_job_def()
            done: list[bool] = []
            run = threading.Thread(target=lambda: done.append(job.execute_in_process(instance=instance).success))
            run.start()
            time.sleep(HELD_SECONDS)
            assert run.is_alive()
            held = len(looks)
            holder.free_step("training")
            run.join(timeout=60)
        assert done == [True]
    assert 1 <= held <= 10
