"""A training that goes wrong leaves no adapter behind."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from fine_tune_assets.core.chat import conversation
from fine_tune_assets.core.progress import silent
from fine_tune_assets.core.settings import go_offline
from fine_tune_assets.recipes.schema import TrainingSettings

pytestmark = pytest.mark.slow  # TRL takes 13 s to import
SETTINGS = TrainingSettings(
    method="lora", rank=2, alpha=2, dropout=0.0, learning_rate=1e-3, epochs=1, batch_size=2, gradient_accumulation=1,
    max_length=200, warmup_fraction=0.0, seed=1,
)  # fmt: skip
TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def _base_model(folder: Path, norm: float) -> Path:
    """A Llama of one layer that reads bytes, with random weights; each number of its last norm is `norm`."""
    go_offline()
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    reader = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(alphabet)}, merges=[]))
    reader.pre_tokenizer, reader.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer: Any = PreTrainedTokenizerFast(tokenizer_object=reader, eos_token="<end>", pad_token="<pad>")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    model: Any = LlamaForCausalLM(config)
    torch.nn.init.constant_(model.model.norm.weight, norm)
    model.save_pretrained(folder)
    return folder


def _instruction_set() -> pa.Table:
    splits = ["train"] * 4 + ["validation"] * 2
    messages = conversation("Be brief.", "Summarise.", "A cough for three weeks.", "Cough.")
    return pa.Table.from_pylist(
        [{"example_id": f"e-{n}", "split": split, "messages": messages} for n, split in enumerate(splits)]
    )


def _train(tmp_path: Path, norm: float) -> Any:
    from fine_tune_assets.training.trainer import train_adapter

    base = _base_model(tmp_path / "base", norm)
    return train_adapter(_instruction_set(), base, "base-1", tmp_path / "adapters", SETTINGS, 2, silent)


def test_an_adapter_is_stored_under_its_fingerprint(tmp_path: Path) -> None:
    """The ordinary case, without which the next test would say nothing."""
    result = _train(tmp_path, norm=1.0)
    assert list((tmp_path / "adapters").iterdir()) == [result.folder]


def test_a_loss_that_is_not_a_number_leaves_no_adapter(tmp_path: Path) -> None:
    """What lies under a final name is taken for a trained adapter."""
    from fine_tune_assets.training.trainer import TrainingError

    with pytest.raises(TrainingError, match="not a number"):
        _train(tmp_path, norm=float("nan"))
    assert not (tmp_path / "adapters").exists()
