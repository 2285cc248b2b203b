"""Compresses a model, or asks a compressed one, with llmcompressor: a script for an environment of its own.

`python llmcompressor_worker.py compress MODEL FOLDER SCHEME` and `… read FOLDER QUESTIONS ANSWERS`. Imports nothing of this
project, which is not installed there. Weights are rounded to the nearest value (no calibration: no report is read).
"""

import json
import sys
from pathlib import Path
from typing import Any

SCHEMES = {"fp8_dynamic": "FP8_DYNAMIC", "w4a16": "W4A16"}


def compress(model: str, folder: str, scheme: str) -> None:
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import QuantizationModifier

    recipe = QuantizationModifier(targets="Linear", scheme=SCHEMES[scheme], ignore=["lm_head"])
    try:
        oneshot(model=_load(model), recipe=recipe, output_dir=folder)
    except ValueError as error:  # such as w4a16 of rows that are no multiple of 128; it names layers and sizes
        sys.exit(" ".join(str(error).split())[:400])


def read(folder: str, questions: str, answers: str) -> None:
    """`questions`: JSON with `texts` and `prompts` (lists of token ids), `max_new_tokens`, `stops`, `pad`.

    `answers` becomes a folder with the log-probabilities of each text, and the token ids of each answer.
    """
    import torch
    from safetensors.torch import save_file

    asked, model, out = json.loads(Path(questions).read_text()), _load_compressed(folder).eval(), Path(answers)
    out.mkdir()
    with torch.inference_mode():
        found = {
            str(number): torch.log_softmax(
                model(input_ids=torch.tensor([ids], device=model.device)).logits[0].float().cpu(), -1
            )
            for number, ids in enumerate(asked["texts"])
        }
        replies = _replies(model, asked)
    save_file(found, out / "texts.safetensors")
    (out / "replies.json").write_text(json.dumps(replies))


def _replies(model: Any, asked: dict[str, Any]) -> list[list[int]]:
    """Greedy, all at once, padded on the left."""
    import torch

    longest = max(len(ids) for ids in asked["prompts"])
    spaces = [longest - len(ids) for ids in asked["prompts"]]
    rows = [[asked["pad"]] * space + ids for space, ids in zip(spaces, asked["prompts"], strict=True)]
    masks = [[0] * space + [1] * (longest - space) for space in spaces]
    output = model.generate(
        input_ids=torch.tensor(rows, device=model.device),
        attention_mask=torch.tensor(masks, device=model.device),
        max_new_tokens=asked["max_new_tokens"],
        do_sample=False,
        eos_token_id=asked["stops"],
        pad_token_id=asked["pad"],
    )
    return [list(row) for row in output[:, longest:].tolist()]


def _load(folder: str, **options: Any) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    where = "cuda" if torch.cuda.is_available() else "cpu"
    return AutoModelForCausalLM.from_pretrained(
        folder,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        device_map=where,
        **{"dtype": "auto", **options},
    )


def _load_compressed(folder: str) -> Any:
    """With its weights de-compressed once: without a GPU each token would do it again."""
    import torch
    from transformers.utils.quantization_config import CompressedTensorsConfig

    how = {} if torch.cuda.is_available() else {"dtype": torch.float32}
    return _load(folder, quantization_config=CompressedTensorsConfig(run_compressed=False), **how)


if __name__ == "__main__":
    {"compress": compress, "read": read}[sys.argv[1]](*sys.argv[2:])
