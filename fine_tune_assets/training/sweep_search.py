"""Searches settings in a sweep: proposes trials and records their results.

A sweep has one folder, named by a hash of everything that determines it, with Optuna's study, a record of each trial and the
trials' weights. A killed sweep resumes: finished trials are not repeated, and the interrupted one keeps its settings.
"""

import hashlib
import itertools
import json
import random
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fine_tune_assets.core.extras import require_extra
from fine_tune_assets.core.files import atomic_folder, make_folder, write_text
from fine_tune_assets.core.fingerprints import fingerprint_folder, fingerprint_json, require_unchanged_folder, short
from fine_tune_assets.recipes.schema import TrainingSettings
from fine_tune_assets.recipes.sweep import INTEGER_FIELDS, Number, Range, SweepSettings
from fine_tune_assets.training.checkpoints import TRAINER_VERSION
from fine_tune_assets.training.failures import TrainingError

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

MAX_KILLS = 3
"""Times that a trial's process may be killed before the trial fails: one that does not fit is killed every time."""
_CHOSEN_FILE = "chosen.json"


class SweepError(TrainingError):
    """No trial of a sweep could be trained."""


@dataclass(frozen=True)
class Trial:
    """One set of settings, and the trainer's `result` or the failure `reason`; neither while the trial runs."""

    number: int
    parameters: dict[str, Number]
    result: dict[str, Any] | None = None
    reason: str | None = None
    kills: int = 0

    @property
    def is_ended(self) -> bool:
        return self.result is not None or self.reason is not None

    @property
    def adapter_id(self) -> str | None:
        return None if self.result is None else self.result["adapter_id"]

    @property
    def gain(self) -> float | None:
        """Decrease of the validation loss below the base model's, in nats per token."""
        if self.result is None:
            return None
        return float(self.result["first_validation_loss"] - self.result["best_validation_loss"])


def sweep_key(
    instruction_set_fingerprint: str, base_fingerprint: str, training: TrainingSettings, sweep: SweepSettings
) -> str:
    """Hash of everything that determines the trials and their results."""
    decides = {name: value for name, value in asdict(training).items() if name != "checkpoint_minutes"}
    tried = {name: value for name, value in asdict(sweep).items() if name != "keep_adapters"}
    # Another trainer version or other labels give other results.
    parts = [TRAINER_VERSION, instruction_set_fingerprint, base_fingerprint, decides, tried]
    return short(fingerprint_json(parts))


class Sweep:
    """`root` contains all sweeps. Only one runs at a time: weights of unfinished ones are removed."""

    def __init__(self, root: Path, key: str, settings: SweepSettings) -> None:
        self.folder, self._settings = root / key, settings
        for other in root.glob("*"):
            if other != self.folder and not (other / _CHOSEN_FILE).exists():
                shutil.rmtree(other / "adapters", ignore_errors=True)
        make_folder(self.folder)
        self._study = _open_study(self.folder / "study.db")
        self._resume()

    @property
    def adapters(self) -> Path:
        """Folder of the trials' weights, apart from the adapters in use."""
        return self.folder / "adapters"

    @property
    def trials(self) -> list[Trial]:
        """All started trials, by number."""
        return _read_trials(self.folder)

    def next_trial(self) -> Trial | None:
        """The interrupted trial, else a new one; None if the sweep is complete."""
        while (trial := next((t for t in self.trials if not t.is_ended), None) or self._new_trial()) is not None:
            duplicate = next((t for t in self.trials if t.is_ended and t.parameters == trial.parameters), None)
            if duplicate is None:
                return trial
            self.end_trial(replace(duplicate, number=trial.number))
        return None

    def save_trial(self, trial: Trial) -> None:
        write_text(self.folder / f"trial-{trial.number}.json", json.dumps(asdict(trial)))

    def end_trial(self, trial: Trial) -> None:
        """Record a finished trial, then report it to the sampler. Weights of worse trials are removed."""
        self.save_trial(trial)
        self._report_to_study(trial)
        best = self._best_trial()
        if not self._settings.keep_adapters and best is not None:
            for folder in self.adapters.glob("*"):
                if folder.name != short(best.adapter_id or ""):
                    shutil.rmtree(folder, ignore_errors=True)

    def choose_trial(self) -> Trial:
        """The trial with the largest gain. Raises SweepError if all failed, and then removes the sweep's folder."""
        best = self._best_trial()
        if best is None:
            reasons = "; ".join(f"trial {trial.number}: {trial.reason}" for trial in self.trials)
            shutil.rmtree(self.folder)
            raise SweepError(f"No trial could be trained. Change sweep.parameters in the recipe. {reasons}")
        return best

    def has_weights(self, trial: Trial, adapters_dir: Path) -> bool:
        """False if the weights were removed or changed."""
        folders = (root / short(trial.adapter_id or "") for root in (self.adapters, adapters_dir))
        return any(folder.is_dir() and fingerprint_folder(folder) == trial.adapter_id for folder in folders)

    def publish(self, trial: Trial, instruction_set_fingerprint: str, adapters_dir: Path) -> Path:
        """Copy the chosen adapter to `adapters_dir` and record the choice. Returns its folder."""
        name = short(trial.adapter_id or "")
        if (self.adapters / name).is_dir():
            with atomic_folder(adapters_dir / name) as temporary:
                shutil.copytree(self.adapters / name, temporary, dirs_exist_ok=True)
        require_unchanged_folder(adapters_dir / name, trial.adapter_id or "", "adapter")
        record = {"trial": trial.number, "adapter_id": trial.adapter_id, "instruction_set": instruction_set_fingerprint}
        write_text(self.folder / _CHOSEN_FILE, json.dumps(record))
        if not self._settings.keep_adapters:
            shutil.rmtree(self.adapters, ignore_errors=True)
        return adapters_dir / name

    def _best_trial(self) -> Trial | None:
        scored = (trial for trial in self.trials if trial.gain is not None)
        return max(scored, key=lambda trial: (trial.gain or 0.0, -trial.number), default=None)

    def _resume(self) -> None:
        """Complete what a kill interrupted: combinations not queued, trials without all settings, unreported results."""
        for parameters in _grid(self._settings):
            self._study.enqueue_trial(parameters, skip_if_exists=True)
        known = {trial.number: trial for trial in self.trials}
        for queued in self._running_trials():
            trial = known.get(queued.number)
            if trial is None and set(queued.params) == set(self._settings.parameters):
                self.save_trial(Trial(queued.number, queued.params))
            elif trial is None:
                self._requeue(queued)
            elif trial.is_ended:
                self._report_to_study(trial)

    def _requeue(self, queued: "FrozenTrial") -> None:
        from optuna.trial import TrialState

        self._study.tell(queued.number, state=TrialState.FAIL)
        if "fixed_params" in queued.system_attrs:
            self._study.enqueue_trial(queued.system_attrs["fixed_params"])

    def _new_trial(self) -> Trial | None:
        if len(self.trials) >= self._settings.trial_count:
            return None
        self._study.sampler = _sampler(self._settings, len(self._study.trials))
        queued = self._study.ask(_distributions(self._settings))
        trial = Trial(queued.number, dict(queued.params))
        self.save_trial(trial)
        return trial

    def _running_trials(self) -> "Sequence[FrozenTrial]":
        from optuna.trial import TrialState

        return self._study.get_trials(states=(TrialState.RUNNING,))

    def _report_to_study(self, trial: Trial) -> None:
        from optuna.trial import TrialState

        if trial.gain is None:
            self._study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
        else:
            self._study.tell(trial.number, trial.gain, skip_if_finished=True)


def read_sweep(root: Path, name: str) -> list[Trial]:
    """Trials of the sweep with this name; none if its folder was removed."""
    return _read_trials(root / name)


def _read_trials(folder: Path) -> list[Trial]:
    trials = (Trial(**json.loads(path.read_text(encoding="utf-8"))) for path in folder.glob("trial-*.json"))
    return sorted(trials, key=lambda trial: trial.number)


def _open_study(path: Path) -> "Study":
    with require_extra("A sweep"):
        import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(
        storage=f"sqlite:///{path}", study_name="sweep", direction="maximize", load_if_exists=True
    )


def _sampler(settings: SweepSettings, number: int) -> Any:
    """Seeded by trial number, so that a resumed sweep draws the same settings as an uninterrupted one."""
    from optuna.samplers import TPESampler

    seed = int.from_bytes(hashlib.sha256(f"{settings.seed}/{number}".encode()).digest()[:4])
    # A third of the trials is random, the rest guided; Optuna's default of ten would leave a small sweep entirely random.
    return TPESampler(seed=seed, n_startup_trials=min(10, max(2, settings.trial_count // 3)))


def _distributions(settings: SweepSettings) -> "dict[str, BaseDistribution]":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, BaseDistribution] = {}
    # Sorted, because draws depend on the order, and the recipe's order must not matter.
    for name, values in sorted(settings.parameters.items()):
        if not isinstance(values, Range):
            found[name] = CategoricalDistribution(values)
        elif name in INTEGER_FIELDS:
            found[name] = IntDistribution(int(values.low), int(values.high), log=values.log)
        else:
            found[name] = FloatDistribution(float(values.low), float(values.high), log=values.log)
    return found


def _grid(settings: SweepSettings) -> list[dict[str, Number]]:
    """All combinations, or a random selection of as many as there are trials; none if a parameter is a range."""
    if settings.grid_size is None:
        return []
    names: list[Any] = sorted(settings.parameters)
    lists = [values for name in names if not isinstance(values := settings.parameters[name], Range)]
    combinations: list[dict[str, Number]] = [
        dict(zip(names, values, strict=True)) for values in itertools.product(*lists)
    ]
    if settings.trials is not None:
        random.Random(settings.seed).shuffle(combinations)
    return combinations[: settings.trial_count]
