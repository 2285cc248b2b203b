"""A sweep: which settings are tried next, and what came of every trial.

Owns one folder a sweep, named by all that decides it: Optuna's study, one record a trial, and the weights of the trials. Killed
and opened again it goes on: what is finished is not trained again, and the trial that was going on gets the same settings. Does
not train.
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

from fine_tune_assets.core.extras import extra_for
from fine_tune_assets.core.files import folder_written_aside, make_folder, write_text
from fine_tune_assets.core.fingerprints import fingerprint_folder, fingerprint_json, require_folder, short
from fine_tune_assets.recipes.schema import TrainingSettings
from fine_tune_assets.recipes.sweep import WHOLE, Number, Range, SweepSettings
from fine_tune_assets.training.checkpoints import TRAINER
from fine_tune_assets.training.failures import TrainingError
from fine_tune_assets.training.supervision.training_templates import templates_version

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

DEATHS = 3
"""Times that a trial's process may be killed before the trial counts as failed: what does not fit is killed every time."""
_CHOSEN = "chosen.json"


class SweepError(TrainingError):
    """No trial of a sweep could be trained."""


@dataclass(frozen=True)
class Trial:
    """One set of settings, and what came of it: nothing yet, a `result` of the trainer, or `why` there is none."""

    number: int
    parameters: dict[str, Number]
    result: dict[str, Any] | None = None
    why: str | None = None
    deaths: int = 0

    @property
    def is_over(self) -> bool:
        return self.result is not None or self.why is not None

    @property
    def adapter_id(self) -> str | None:
        return None if self.result is None else self.result["adapter_id"]

    @property
    def gain(self) -> float | None:
        """How far the validation loss fell below the base model's, in nats a token."""
        if self.result is None:
            return None
        return float(self.result["first_validation_loss"] - self.result["best_validation_loss"])


def sweep_key(
    instruction_set_fingerprint: str, base_fingerprint: str, training: TrainingSettings, sweep: SweepSettings
) -> str:
    """Name of all that decides which trials there are and what comes of them."""
    decides = {name: value for name, value in asdict(training).items() if name != "checkpoint_minutes"}
    tried = {name: value for name, value in asdict(sweep).items() if name != "keep_adapters"}
    # Trials of another trainer, or with other labels, are other trials.
    parts = [TRAINER, templates_version(), instruction_set_fingerprint, base_fingerprint, decides, tried]
    return short(fingerprint_json(parts))


class Sweep:
    """`root` holds all sweeps. One goes on at a time: weights that an unfinished one left behind are removed."""

    def __init__(self, root: Path, key: str, settings: SweepSettings) -> None:
        self.folder, self._settings = root / key, settings
        for other in root.glob("*"):
            if other != self.folder and not (other / _CHOSEN).exists():
                shutil.rmtree(other / "adapters", ignore_errors=True)
        make_folder(self.folder)
        self._study = _open_study(self.folder / "study.db")
        self._take_up_again()

    @property
    def adapters(self) -> Path:
        """Where trials store their weights: apart from those that are in use."""
        return self.folder / "adapters"

    @property
    def trials(self) -> list[Trial]:
        """Those that have begun, in their order."""
        return _trials_in(self.folder)

    def next_trial(self) -> Trial | None:
        """The one that was cut off, else a new one; None when the sweep is whole."""
        while (trial := next((t for t in self.trials if not t.is_over), None) or self._new_trial()) is not None:
            same = next((t for t in self.trials if t.is_over and t.parameters == trial.parameters), None)
            if same is None:
                return trial
            self.end(replace(same, number=trial.number))
        return None

    def keep(self, trial: Trial) -> None:
        """Write the record down."""
        write_text(self.folder / f"trial-{trial.number}.json", json.dumps(asdict(trial)))

    def end(self, trial: Trial) -> None:
        """A trial is over: on record first, then the sampler learns from it. The weights of losers go."""
        self.keep(trial)
        self._tell(trial)
        best = self._best()
        if not self._settings.keep_adapters and best is not None:
            for folder in self.adapters.glob("*"):
                if folder.name != short(best.adapter_id or ""):
                    shutil.rmtree(folder, ignore_errors=True)

    def chosen(self) -> Trial:
        """The one whose validation loss fell furthest. Raises SweepError if all failed; nothing is kept of them then."""
        best = self._best()
        if best is None:
            reasons = "; ".join(f"trial {trial.number}: {trial.why}" for trial in self.trials)
            shutil.rmtree(self.folder)
            raise SweepError(f"None of the trials could be trained. Change sweep.parameters in the recipe. {reasons}")
        return best

    def has_weights(self, trial: Trial, adapters_dir: Path) -> bool:
        """False when somebody removed them since."""
        folders = (root / short(trial.adapter_id or "") for root in (self.adapters, adapters_dir))
        return any(folder.is_dir() and fingerprint_folder(folder) == trial.adapter_id for folder in folders)

    def publish(self, trial: Trial, instruction_set_fingerprint: str, adapters_dir: Path) -> Path:
        """Put the chosen adapter where adapters lie, and write down that it was chosen. Returns its folder."""
        name = short(trial.adapter_id or "")
        if (self.adapters / name).is_dir():
            with folder_written_aside(adapters_dir / name) as aside:
                shutil.copytree(self.adapters / name, aside, dirs_exist_ok=True)
        require_folder(adapters_dir / name, trial.adapter_id or "", "adapter")
        said = {"trial": trial.number, "adapter_id": trial.adapter_id, "instruction_set": instruction_set_fingerprint}
        write_text(self.folder / _CHOSEN, json.dumps(said))
        if not self._settings.keep_adapters:
            shutil.rmtree(self.adapters, ignore_errors=True)
        return adapters_dir / name

    def _best(self) -> Trial | None:
        learned = (trial for trial in self.trials if trial.gain is not None)
        return max(learned, key=lambda trial: (trial.gain or 0.0, -trial.number), default=None)

    def _take_up_again(self) -> None:
        """What a kill left half said: combinations not yet in the queue, trials without all settings, results not told."""
        for parameters in _grid(self._settings):
            self._study.enqueue_trial(parameters, skip_if_exists=True)
        known = {trial.number: trial for trial in self.trials}
        for asked in self._running():
            trial = known.get(asked.number)
            if trial is None and set(asked.params) == set(self._settings.parameters):
                self.keep(Trial(asked.number, asked.params))
            elif trial is None:
                self._give_back(asked)
            elif trial.is_over:
                self._tell(trial)

    def _give_back(self, asked: "FrozenTrial") -> None:
        from optuna.trial import TrialState

        self._study.tell(asked.number, state=TrialState.FAIL)
        if "fixed_params" in asked.system_attrs:
            self._study.enqueue_trial(asked.system_attrs["fixed_params"])

    def _new_trial(self) -> Trial | None:
        if len(self.trials) >= self._settings.wanted:
            return None
        self._study.sampler = _sampler(self._settings, len(self._study.trials))
        asked = self._study.ask(_distributions(self._settings))
        trial = Trial(asked.number, dict(asked.params))
        self.keep(trial)
        return trial

    def _running(self) -> "Sequence[FrozenTrial]":
        from optuna.trial import TrialState

        return self._study.get_trials(states=(TrialState.RUNNING,))

    def _tell(self, trial: Trial) -> None:
        from optuna.trial import TrialState

        if trial.gain is None:
            self._study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
        else:
            self._study.tell(trial.number, trial.gain, skip_if_finished=True)


def read_sweep(root: Path, name: str) -> list[Trial]:
    """Trials of the sweep of this name; none if its folder was removed."""
    return _trials_in(root / name)


def _trials_in(folder: Path) -> list[Trial]:
    """In their order."""
    read = (Trial(**json.loads(path.read_text(encoding="utf-8"))) for path in folder.glob("trial-*.json"))
    return sorted(read, key=lambda trial: trial.number)


def _open_study(path: Path) -> "Study":
    with extra_for("A sweep"):
        import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(
        storage=f"sqlite:///{path}", study_name="sweep", direction="maximize", load_if_exists=True
    )


def _sampler(settings: SweepSettings, number: int) -> Any:
    """Seeded for each trial by itself: a sweep that goes on draws what it would have drawn in one go."""
    from optuna.samplers import TPESampler

    seed = int.from_bytes(hashlib.sha256(f"{settings.seed}/{number}".encode()).digest()[:4])
    # A third by chance, then near what did well; Optuna's ten would leave a small sweep to chance alone.
    return TPESampler(seed=seed, n_startup_trials=min(10, max(2, settings.wanted // 3)))


def _distributions(settings: SweepSettings) -> "dict[str, BaseDistribution]":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, BaseDistribution] = {}
    # In one order, whatever the recipe's: draws follow each other.
    for name, values in sorted(settings.parameters.items()):
        if not isinstance(values, Range):
            found[name] = CategoricalDistribution(values)
        elif name in WHOLE:
            found[name] = IntDistribution(int(values.low), int(values.high), log=values.log)
        else:
            found[name] = FloatDistribution(float(values.low), float(values.high), log=values.log)
    return found


def _grid(settings: SweepSettings) -> list[dict[str, Number]]:
    """Every combination, or as many by chance as there are trials; none with a range in it."""
    if settings.grid_size is None:
        return []
    names: list[Any] = sorted(settings.parameters)
    lists = [values for name in names if not isinstance(values := settings.parameters[name], Range)]
    combinations: list[dict[str, Number]] = [
        dict(zip(names, values, strict=True)) for values in itertools.product(*lists)
    ]
    if settings.trials is not None:
        random.Random(settings.seed).shuffle(combinations)
    return combinations[: settings.wanted]
