"""Trains one case in this process and prints its figures as JSON: `python -m benchmarks.gpu_proof.training_case CASE`.

A process per case, because peak memory is counted per process, and a case that exceeds the card's memory ends alone.
"""

import json
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq

from benchmarks.gpu_proof.origin import ROOT
from benchmarks.gpu_proof.results import Figures, SkipPart
from benchmarks.training_baseline import StepClock, train_with_plain_trl
from fine_tune_assets.core.processes.offline import go_offline, use_large_pages
from fine_tune_assets.recipes.schema import TrainingSettings

Script = Literal["product", "plain_trl"]


@dataclass(frozen=True)
class TrainingCase:
    base: str
    rows: str
    """A Parquet file of an instruction set."""
    settings: dict[str, Any]
    script: Script = "product"
    optimizer: str | None = None
    """Instead of the product's AdamW: a name of transformers' optimizers, such as `paged_adamw_32bit`."""
    keep_adapter: str | None = None
    """Folder for the adapter; None: it is discarded."""
    threads: int = 0
    """CPU threads; 0: all."""
    base_fingerprint: str = "unverified"
    """Of the base folder, if the adapter is judged or merged."""


def run_case(case: TrainingCase, timeout_seconds: float | None) -> Figures:
    """The figures of a case, from its own process, or from this one without a time limit, as in dry runs: importing the libraries
    takes ten seconds. Raises SkipPart if the plan does not fit, and RuntimeError if the training failed."""
    if timeout_seconds is None:
        figures = train(case)
    else:
        figures = run_module("benchmarks.gpu_proof.training_case", asdict(case), timeout_seconds)
    return require_fit(figures)


def require_fit(figures: Figures) -> Figures:
    """Raises SkipPart if the plan did not fit, so that there was no training."""
    if not figures.get("fits", True):
        raise SkipPart(f"the plan needs {figures['planned_bytes'] / 1e9:.1f} GB, which the card does not have")
    return figures


def run_module(module: str, job: dict[str, Any], timeout_seconds: float) -> Figures:
    """Run a module of the kit with its job as JSON; returns the JSON that it prints last. Raises RuntimeError with its error."""
    command = [sys.executable, "-m", module, json.dumps(job)]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=timeout_seconds)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"It was not complete after {timeout_seconds:.0f} s.") from None
    if done.returncode:
        sys.stderr.write(done.stderr[-4000:])
        raise RuntimeError(find_error(done.stderr) or f"exit status {done.returncode}")
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def find_error(log: str) -> str | None:
    """The last line that names an exception: libraries write warnings after it."""
    named = re.findall(r"^[\w.]*(?:Error|Exception|Exit|Interrupt)\b.*", log, re.MULTILINE)
    return str(named[-1])[:400] if named else None


def train_with_product(case: TrainingCase, settings: TrainingSettings) -> dict[str, Any]:
    from fine_tune_assets.training.lora.training_engines import prepare_engine

    prepare_engine(settings.engine)
    from fine_tune_assets.training.lora.trainer import train_adapter
    from fine_tune_assets.training.planning.measured_plan import measure_this_machine

    plan = plan_case(case, settings, measure_this_machine())
    if not plan["fits"]:  # as in the graph, which trains nothing then
        return plan
    clock = StepClock()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        adapters = Path(case.keep_adapter) if case.keep_adapter else root / "adapters"
        trained = train_adapter(
            pq.read_table(case.rows),
            Path(case.base),
            case.base_fingerprint,
            adapters,
            root / "checkpoints",
            settings,
            0,
            clock,
        )
    return {
        **plan,
        "steps": trained.steps,
        "seconds_per_step": clock.seconds_per_step,
        "tokens_per_second": trained.tokens_per_second,
        "peak_bytes": trained.peak_memory_bytes,
        "packing": trained.packing,
        "first_validation_loss": trained.first_validation_loss,
        "best_validation_loss": trained.best_validation_loss,
        "base_kl_divergence": trained.base_kl_divergence,
        "duration_seconds": trained.duration_seconds,
        "adapter_id": trained.adapter_id,
    }


def train_with_optimizer(case: TrainingCase, settings: TrainingSettings) -> dict[str, Any]:
    """The product's trainer with another optimizer, which recipes do not offer: for its memory and speed alone."""
    from transformers.trainer_utils import set_seed
    from transformers.training_args import OptimizerNames

    from fine_tune_assets.core.prompts.prompt_contract import read_generation_stops
    from fine_tune_assets.engines.transformers_models import load_tokenizer, set_threads
    from fine_tune_assets.training.checkpoints import CheckpointStore
    from fine_tune_assets.training.lora.trainer_inputs import make_trainer, prepare_rows
    from fine_tune_assets.training.lora.training_engines import select_engine
    from fine_tune_assets.training.tracking.training_progress import ProgressCallback, peak_memory_bytes

    base, clock = Path(case.base), StepClock()
    set_threads(case.threads)
    tokenizer = load_tokenizer(base)
    stops = {tokenizer.eos_token_id, *read_generation_stops(base)}
    rows = prepare_rows(pq.read_table(case.rows), tokenizer, stops, settings)
    set_seed(settings.seed)
    model = select_engine(settings).load_model(base, settings)
    with tempfile.TemporaryDirectory() as scratch:
        progress = ProgressCallback(clock)
        trainer = make_trainer(model, tokenizer, rows, settings, CheckpointStore(Path(scratch), "case"), None, progress)
        trainer.args.optim = OptimizerNames(case.optimizer)  # read when training starts and the optimizer is made
        trainer.train()
    states = [value for state in trainer.optimizer.state.values() for value in state.values()]
    return {
        "optimizer": type(trainer.optimizer.optimizer).__name__,
        # In CUDA's managed memory, which torch's peak does not count.
        "paged_bytes": sum(value.nbytes for value in states if getattr(value, "is_paged", False)),
        "steps": trainer.state.global_step,
        "seconds_per_step": clock.seconds_per_step,
        "tokens_per_second": progress.tokens_per_second,
        "peak_bytes": peak_memory_bytes(),
    }


def train_with_plain_script(case: TrainingCase, settings: TrainingSettings) -> dict[str, Any]:
    from fine_tune_assets.engines.transformers_models import set_threads
    from fine_tune_assets.training.tracking.training_progress import peak_memory_bytes

    set_threads(case.threads)
    clock = StepClock()
    train = [{"messages": row["messages"]} for row in pq.read_table(case.rows).to_pylist() if row["split"] == "train"]
    with tempfile.TemporaryDirectory() as scratch:
        trainer = train_with_plain_trl(train, Path(case.base), settings, clock, Path(scratch))
    step = clock.seconds_per_step
    tokens = _real_tokens(trainer.processing_class, train)
    return {
        "steps": len(clock.ends),
        "seconds_per_step": step,
        "tokens_per_second": tokens / len(clock.ends) / step if step else None,
        "peak_bytes": peak_memory_bytes(),
    }


def _real_tokens(tokenizer: Any, train: list[dict[str, Any]]) -> int:
    """Without padding, as the product's trainer counts."""
    texts = [tokenizer.apply_chat_template(row["messages"], tokenize=False) for row in train]
    return sum(map(len, tokenizer(texts, add_special_tokens=False)["input_ids"]))


def plan_case(case: TrainingCase, settings: TrainingSettings, machine: Any) -> dict[str, Any]:
    """The plan of the training that follows. Call it before the model is loaded."""
    from fine_tune_assets.engines.transformers_models import load_tokenizer
    from fine_tune_assets.training.planning.measured_plan import make_planner

    base, tokenizer = Path(case.base), load_tokenizer(Path(case.base))
    rows = pq.read_table(case.rows).to_pylist()
    plan = make_planner(base, _measure_lengths(tokenizer, rows, "train"), machine).plan_recipe(settings)
    _reset_peak_memory()
    # On a GPU, torch's peak leaves out the driver's context; on a CPU, resident memory includes the libraries.
    return {
        "planned_bytes": plan.memory.total if machine.is_gpu else plan.peak_bytes,
        "fits": plan.fits,
        "planned_weights_bytes": plan.memory.weights,
        "largest_pass": [plan.shape.largest.rows, plan.shape.largest.tokens],
    }


def _measure_lengths(tokenizer: Any, rows: list[dict[str, Any]], split: str) -> Any:
    from fine_tune_assets.training.planning.resource_plan import Lengths
    from fine_tune_assets.training.supervision.loss_mask import supervise

    found = [supervise(tokenizer, row["example_id"], row["messages"]) for row in rows if row["split"] == split]
    return Lengths(tuple(len(row.input_ids) for row in found), tuple(row.supervised_tokens for row in found))


def _reset_peak_memory() -> None:
    """The product plans in another process: what the timing of layers took must not count for the training."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def train(case: TrainingCase) -> dict[str, Any]:
    """In this process."""
    settings = TrainingSettings(**case.settings)
    if case.script == "plain_trl":
        return train_with_plain_script(case, settings)
    return train_with_optimizer(case, settings) if case.optimizer else train_with_product(case, settings)


if __name__ == "__main__":
    go_offline()
    use_large_pages()
    print(json.dumps(train(TrainingCase(**json.loads(sys.argv[1])))))
