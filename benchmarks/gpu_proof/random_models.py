"""Makes models of published shapes with random weights: for speed, memory and parity, never for quality.

A folder has the shape's config.json, weights in bfloat16 that are written shard by shard, and a tokenizer that knows every token
id, because a random model generates all of them.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fine_tune_assets.core.processes.offline import go_offline

SHAPES = Path(__file__).with_name("shapes")
TINY = "tiny"
_SHARD_BYTES = 4_000_000_000
_TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{{ eos_token }}"
    "{% endgeneration %}{% else %}{{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
_END, _PAD = "<end>", "<pad>"


def published_sizes() -> list[str]:
    """Names of the shapes of published models."""
    return sorted(path.stem for path in SHAPES.glob("*.json") if path.stem != TINY)


def read_shape(name: str) -> dict[str, Any]:
    """The values of config.json that fix a model's size."""
    return dict(json.loads((SHAPES / f"{name}.json").read_text(encoding="utf-8"))["config"])


def make_model(shape: str, folder: Path, seed: int = 0, dtype: str = "bfloat16") -> Path:
    """Write the model into `folder`, or return the folder as it is if it is complete."""
    go_offline()
    complete = folder.with_name(f"{folder.name}.complete")  # outside the folder, whose files become a release
    if complete.is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    config = read_shape(shape)
    tokenizer = _make_tokenizer(config["vocab_size"])
    tokenizer.save_pretrained(folder)
    written = {
        **config,
        "torch_dtype": dtype,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    (folder / "config.json").write_text(json.dumps(written, indent=2), encoding="utf-8")
    generation = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    (folder / "generation_config.json").write_text(json.dumps(generation), encoding="utf-8")
    _write_weights(folder, seed, dtype)
    complete.touch()
    return folder


def _make_tokenizer(vocabulary_size: int) -> Any:
    """Bytes, and a made-up word for every further id."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*alphabet, *(f"Ġw{number}" for number in range(vocabulary_size - len(alphabet) - 2)), _END, _PAD]
    reader = Tokenizer(models.BPE(vocab={word: number for number, word in enumerate(words)}, merges=[]))
    reader.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    reader.decoder = decoders.ByteLevel()
    made: Any = PreTrainedTokenizerFast(tokenizer_object=reader, eos_token=_END, pad_token=_PAD)
    made.chat_template = _TEMPLATE
    return made


def _write_weights(folder: Path, seed: int, dtype: str) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from fine_tune_assets.merging.shards import plan_shards, write_index, write_tensors

    config: Any = AutoConfig.from_pretrained(folder, local_files_only=True)
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if config.tie_word_embeddings:
        shapes.pop("lm_head.weight", None)
    kind = getattr(torch, dtype)
    sizes = {name: kind.itemsize * torch.Size(shape).numel() for name, shape in shapes.items()}
    files = plan_shards(sizes, _SHARD_BYTES)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator(device).manual_seed(seed)

    def make(names: list[str]) -> Iterator[torch.Tensor]:
        for name in names:
            if name.endswith("norm.weight"):
                made = torch.ones(shapes[name], device=device)
            elif name.endswith("bias"):
                made = torch.zeros(shapes[name], device=device)
            else:
                made = torch.randn(shapes[name], generator=generator, device=device) * config.initializer_range
            yield made.to(dtype=kind).cpu()

    for file, names in files.items():
        write_tensors(folder / file, [(name, kind, shapes[name]) for name in names], make(names))
    write_index(folder, files, sum(sizes.values()))
