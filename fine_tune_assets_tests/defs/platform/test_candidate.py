"""New examples wait while a candidate is in flight. Training starts again when it is served, held or refused, or has failed."""

import dagster as dg
import pytest

from fine_tune_assets.defs.platform.automation import InputsChanged, InputsPresent, inputs_are_final, ready_to_run
from fine_tune_assets.defs.s06_adapters import adapters as s06_adapters
from fine_tune_assets.defs.s06_adapters.adapters import TrainingIsDue, after_training
from fine_tune_assets.training.training_due import TrainingDue
from fine_tune_assets_tests.defs.platform.automation_graph import Graph
from fine_tune_assets_tests.defs.training_inputs import INPUTS

pytestmark = pytest.mark.slow  # some thirty ticks and runs


class Story:
    """The stages of a candidate as in the real graph, with a training that is always due."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.passes, self.broken = True, set[str]()

        @dg.asset(
            deps=["instruction_sets"],
            automation_condition=ready_to_run()
            & inputs_are_final()
            & InputsPresent()
            & InputsChanged()
            & TrainingIsDue(),
        )
        def adapters() -> dg.MaterializeResult[None]:
            return dg.MaterializeResult(data_version=self.graph.compute())

        @dg.asset_check(asset="promotion_verdicts", blocking=True)
        def is_promoted() -> dg.AssetCheckResult:
            return dg.AssetCheckResult(passed=self.passes)

        sources = [dg.AssetSpec("instruction_sets"), dg.AssetSpec("gate")]
        assets = [*sources, adapters, *(self._stage(name) for name in INPUTS)]
        self.graph = Graph(dg.Definitions(assets=assets, asset_checks=[is_promoted]), instance)
        self.graph.report("gate", "1")

    def _stage(self, name: str) -> dg.AssetsDefinition:
        @dg.asset(name=name, deps=INPUTS[name], automation_condition=after_training())
        def made() -> dg.MaterializeResult[None]:
            if name in self.broken:
                raise RuntimeError("out of memory")
            return dg.MaterializeResult(data_version=self.graph.compute())

        return made

    def approve(self, version: str) -> None:
        self.graph.report("instruction_sets", version)

    def run_next(self) -> set[str]:
        """Run the assets that the next tick requests, and return them."""
        requested = {str(name) for name in self.graph.tick()}
        if requested:
            self.graph.run(*sorted(requested))
        return requested

    def run_until_next_training(self) -> list[set[str]]:
        """The assets of each run before the next training."""
        runs: list[set[str]] = []
        while (requested := self.run_next()) != {"adapters"}:
            assert requested, f"nothing is requested after {runs}"
            runs.append(requested)
        return runs


@pytest.fixture
def is_due(monkeypatch: pytest.MonkeyPatch) -> list[TrainingDue]:
    """Controls when a training is due. Other tests cover the counts."""
    now = [TrainingDue.AFTER_CANDIDATE]
    monkeypatch.setattr(s06_adapters, "_decide_due", lambda *_, **__: now[0])
    return now


@pytest.fixture
def story(installation_dir: object, instance: dg.DagsterInstance, is_due: list[TrainingDue]) -> Story:  # noqa: ARG001
    """A trained candidate, and examples that were approved afterwards."""
    story = Story(instance)
    story.approve("1")
    assert story.run_next() == {"adapters"}
    story.approve("2")
    return story


def test_a_candidate_is_served_before_the_next_training(story: Story) -> None:
    """With a steady stream of corrections, each training would otherwise replace a candidate before its release."""
    assert story.run_until_next_training() == [{name} for name in INPUTS]
    assert story.run_next() == {"judge_scores"}


@pytest.mark.parametrize("end", ["a closed gate", "a failure"])
def test_a_stopped_candidate_does_not_delay_the_next_training(story: Story, end: str) -> None:
    """A candidate on hold may wait weeks for a signature, and a failed one waits for a person."""
    story.passes = end != "a closed gate"
    story.broken = {"judge_scores"} if end == "a failure" else set()
    assert story.run_until_next_training()[-1] == ({"judge_scores"} if end == "a failure" else {"promotion_verdicts"})


def test_an_urgent_training_does_not_wait_for_the_candidate(story: Story, is_due: list[TrainingDue]) -> None:
    """For example, a candidate that was trained on an erased subject is not judged first."""
    is_due[0] = TrainingDue.NOW
    assert story.run_next() == {"adapters"}
