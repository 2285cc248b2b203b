"""What the training benchmarks share: pairs of dialogue and note, a clock of steps, and the plain TRL script to compare with."""

import gzip
import json
import time
from pathlib import Path
from typing import Any

import pyarrow as pa

from fine_tune_assets.core.prompts.conversations import build_conversation
from fine_tune_assets.recipes.schema import TrainingSettings

PAIRS = Path(__file__).parent / "visit_pairs" / "visit_pairs.jsonl.gz"
SYSTEM = "You write sections of medical notes from visits."
INSTRUCTION = "Write the section of the note from this part of the visit."


def visit_pairs(counts: dict[str, int], longest_characters: int) -> pa.Table:
    """The first pairs of MTS-Dialog that fit, in the order of the file, with the columns of an instruction set.

    `counts`: split → number of rows.
    """
    splits = [name for name, count in counts.items() for _ in range(count)]
    rows: list[dict[str, Any]] = []
    with gzip.open(PAIRS, "rt", encoding="utf-8") as file:
        for line in file:
            pair = json.loads(line)
            if "mts" not in pair["corpus"].lower() or len(pair["input"]) + len(pair["output"]) > longest_characters:
                continue
            number = len(rows)
            messages = build_conversation(SYSTEM, INSTRUCTION, pair["input"], pair["output"])
            names = {"example_id": f"e-{number}", "subject_key": f"s-{number}", "task": "summarise_dialogue"}
            rows.append({**names, "split": splits[number], "messages": messages})
            if len(rows) == len(splits):
                return pa.Table.from_pylist(rows)
    raise ValueError(f"There are only {len(rows)} pairs of at most {longest_characters} characters.")


class StepClock:
    """Progress of a training: the time from the end of the first step, a warm-up, to the end of the last."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def __call__(self, done: int, total: int, what: str) -> None:  # noqa: ARG002
        self.ends.append(time.perf_counter())

    @property
    def seconds_per_step(self) -> float | None:
        """None if there was only one step."""
        return (self.ends[-1] - self.ends[0]) / (len(self.ends) - 1) if len(self.ends) > 1 else None


def train_with_plain_trl(
    train: list[dict[str, Any]], base: Path, settings: TrainingSettings, clock: StepClock, folder: Path, **options: Any
) -> Any:
    """The script of TRL's documentation of SFT with PEFT: padded batches by chance, loss over the whole conversation.

    On a CPU in float32, on a GPU in bfloat16. `train`: rows with `messages`. `options`: further ones of SFTConfig. Returns the
    trainer.
    """
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from fine_tune_assets.engines.transformers_models import nf4_config

    class Timing(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
            clock(state.global_step, state.max_steps, "")

    is_gpu = torch.cuda.is_available()
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(
            base,
            dtype=torch.bfloat16 if is_gpu else torch.float32,
            device_map="cuda:0" if is_gpu else "cpu",
            quantization_config=nf4_config() if settings.method == "qlora" else None,
        ),
        args=SFTConfig(
            output_dir=str(folder),
            num_train_epochs=settings.epochs,
            per_device_train_batch_size=settings.batch_size,
            gradient_accumulation_steps=settings.gradient_accumulation,
            learning_rate=settings.learning_rate,
            max_length=settings.max_length,
            bf16=is_gpu,
            use_cpu=not is_gpu,
            report_to="none",
            seed=settings.seed,
            **options,
        ),
        train_dataset=Dataset.from_list(train),
        processing_class=AutoTokenizer.from_pretrained(base),
        peft_config=LoraConfig(
            r=settings.rank, lora_alpha=settings.alpha, target_modules="all-linear", task_type="CAUSAL_LM"
        ),
        callbacks=[Timing()],
    )
    trainer.train()
    return trainer
