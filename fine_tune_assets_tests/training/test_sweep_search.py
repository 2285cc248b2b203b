"""Which settings a sweep tries, and that a kill loses no finished trial. A formula replaces the trainer."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.fingerprints import fingerprint_folder, short
from fine_tune_assets.recipes.sweep import Range, SweepSettings
from fine_tune_assets.training.sweep_search import Sweep, SweepError, Trial, read_sweep, sweep_key
from fine_tune_assets_tests.training.tiny_training import SETTINGS

SEARCH = SweepSettings(
    parameters={"learning_rate": Range(low=1e-5, high=1e-2, log=True), "rank": Range(low=2, high=64), "alpha": (8, 16)},
    seed=7,
    trials=8,
)
GRID = SweepSettings(parameters={"rank": (2, 4, 8), "dropout": (0.0, 0.1)}, seed=1)


def _adapter(sweep: Sweep, content: str) -> str:
    """Weights in the trainer's layout."""
    aside = sweep.folder / "aside"
    aside.mkdir()
    (aside / "adapter_model.safetensors").write_text(content)
    name = fingerprint_folder(aside)
    sweep.adapters.mkdir(exist_ok=True)
    aside.rename(sweep.adapters / short(name))
    return name


def _trained(sweep: Sweep, trial: Trial) -> Trial:
    """The trial with a result: the closer to rank 30 and a learning rate of 1e-3, the better."""
    loss = abs(trial.parameters.get("rank", 0) - 30) / 30 + abs(trial.parameters.get("learning_rate", 0) - 1e-3) * 100
    result = {"adapter_id": _adapter(sweep, json.dumps(trial.parameters)), "duration_seconds": 1.0}
    result |= {"first_validation_loss": 20.0, "best_validation_loss": loss}
    return replace(trial, result=result)


def _run(root: Path, settings: SweepSettings, stop_after: int | None = None) -> Sweep:
    """Run until the sweep is complete, or for `stop_after` trials."""
    sweep = Sweep(root, "key", settings)
    while (stop_after is None or stop_after > 0) and (trial := sweep.next_trial()) is not None:
        sweep.end_trial(_trained(sweep, trial))
        stop_after = None if stop_after is None else stop_after - 1
    return sweep


def _tried(sweep: Sweep) -> list[dict[str, Any]]:
    return [trial.parameters for trial in sweep.trials]


def test_the_seed_determines_the_trials(tmp_path: Path) -> None:
    """The same sweep tries the same settings on another machine, another seed tries others, all within their ranges."""
    first, second = (_tried(_run(tmp_path / name, SEARCH)) for name in ("one", "two"))
    assert first == second
    assert len(first) == 8
    assert all(
        1e-5 <= p["learning_rate"] <= 1e-2 and p["rank"] in range(2, 65) and p["alpha"] in (8, 16) for p in first
    )
    turned = replace(SEARCH, parameters=dict(reversed(SEARCH.parameters.items())))
    assert _tried(_run(tmp_path / "turned", turned)) == first
    assert _tried(_run(tmp_path / "three", replace(SEARCH, seed=8))) != first


def test_lists_alone_are_tried_in_every_combination_once(tmp_path: Path) -> None:
    """With a number of trials, a random selection of as many."""
    tried = _tried(_run(tmp_path / "all", GRID))
    assert sorted((p["rank"], p["dropout"]) for p in tried) == [(r, d) for r in (2, 4, 8) for d in (0.0, 0.1)]
    some = _tried(_run(tmp_path / "some", replace(GRID, trials=4)))
    assert len(some) == 4
    assert all(parameters in tried for parameters in some)
    assert len({json.dumps(parameters, sort_keys=True) for parameters in some}) == 4


@pytest.mark.parametrize("settings", [SEARCH, GRID])
def test_a_killed_sweep_resumes_as_if_uninterrupted(tmp_path: Path, settings: SweepSettings) -> None:
    """Killed between trials, during one, and between a result and its entry in the study."""
    uninterrupted = _run(tmp_path / "whole", settings)
    root = tmp_path / "killed"
    _run(root, settings, stop_after=2)
    within = Sweep(root, "key", settings).next_trial()
    assert within is not None
    reopened = Sweep(root, "key", settings)
    assert reopened.next_trial() == within
    reopened.save_trial(_trained(reopened, within))  # the entry in the study is missing
    finished = reopened.trials
    resumed = _run(root, settings)
    assert resumed.trials[:3] == finished
    assert _tried(resumed) == _tried(uninterrupted)
    assert resumed.choose_trial().parameters == uninterrupted.choose_trial().parameters
    assert resumed.next_trial() is None


def test_settings_are_not_trained_twice(tmp_path: Path) -> None:
    """A small integer range draws some values twice; the trial counts but costs nothing."""
    settings = SweepSettings(parameters={"epochs": Range(low=1, high=2)}, seed=3, trials=6)
    sweep, trained = Sweep(tmp_path, "key", settings), 0
    while (trial := sweep.next_trial()) is not None:
        trained += 1
        sweep.end_trial(_trained(sweep, trial))
    assert trained == 2
    assert len(sweep.trials) == 6
    assert all(trial.result for trial in sweep.trials)


def test_only_the_best_weights_are_kept_unless_the_recipe_keeps_all(tmp_path: Path) -> None:
    """The results of all trials stay. The chosen adapter is copied to the adapters folder."""
    for keep, left in ((False, 1), (True, 6)):
        sweep = _run(tmp_path / str(keep), replace(GRID, keep_adapters=keep))
        assert len(list(sweep.adapters.iterdir())) == left
        best = sweep.choose_trial()
        folder = sweep.publish(best, "set-1", tmp_path / "adapters")
        assert fingerprint_folder(folder) == best.adapter_id
        assert sweep.adapters.exists() is keep
        assert sweep.has_weights(best, tmp_path / "adapters")
        assert read_sweep(tmp_path / str(keep), "key") == sweep.trials
        shutil.rmtree(folder)
        assert sweep.has_weights(best, tmp_path / "adapters") is keep


def test_a_failed_trial_is_recorded_and_never_chosen(tmp_path: Path) -> None:
    """Its loss is missing, not 0."""
    sweep = Sweep(tmp_path, "key", GRID)
    failed = sweep.next_trial()
    assert failed is not None
    sweep.end_trial(replace(failed, reason="Out of memory."))
    sweep = _run(tmp_path, GRID)
    assert [trial.gain is None for trial in sweep.trials] == [True] + [False] * 5
    assert sweep.choose_trial().number != failed.number


def test_the_largest_decrease_of_the_loss_wins(tmp_path: Path) -> None:
    """The base model's loss depends on the batches, so decreases are compared; the first of two equal ones wins."""
    sweep = Sweep(tmp_path, "key", replace(GRID, trials=4))
    for first, best in ((5.5, 5.25), (6.0, 5.5), (6.5, 6.0), (5.0, 5.0)):
        trial = sweep.next_trial()
        assert trial is not None
        result = {"adapter_id": str(best), "first_validation_loss": first, "best_validation_loss": best}
        sweep.end_trial(replace(trial, result=result))
    assert sweep.choose_trial().number == 1


def test_a_sweep_whose_trials_all_failed_can_be_repeated(tmp_path: Path) -> None:
    """On a machine with more memory, records of the failed trials must not block the same recipe."""
    sweep = Sweep(tmp_path, "key", replace(GRID, trials=2))
    while (trial := sweep.next_trial()) is not None:
        sweep.end_trial(replace(trial, reason="Out of memory."))
    with pytest.raises(SweepError, match=r"trial 0: Out of memory\..*trial 1: Out of memory\."):
        sweep.choose_trial()
    assert Sweep(tmp_path, "key", replace(GRID, trials=2)).next_trial() is not None


def test_weights_of_an_abandoned_sweep_are_removed_by_the_next(tmp_path: Path) -> None:
    """As after new examples. Its results stay, and so does everything of a complete sweep."""
    given_up = _run(tmp_path, GRID, stop_after=2)
    Sweep(tmp_path, "other", GRID)
    assert not given_up.adapters.exists()
    assert len(given_up.trials) == 2


def test_the_name_covers_everything_that_determines_the_trials(tmp_path: Path) -> None:  # noqa: ARG001
    """Otherwise trials of another set would be reused. The checkpoint interval has no influence."""
    names = {
        sweep_key("s", "b", SETTINGS, GRID),
        sweep_key("t", "b", SETTINGS, GRID),
        sweep_key("s", "c", SETTINGS, GRID),
        sweep_key("s", "b", replace(SETTINGS, seed=2), GRID),
        sweep_key("s", "b", SETTINGS, replace(GRID, seed=2)),
    }
    assert len(names) == 5
    same = sweep_key("s", "b", replace(SETTINGS, checkpoint_minutes=1.0), replace(GRID, keep_adapters=True))
    assert same == sweep_key("s", "b", SETTINGS, GRID)
