"""Script that compresses or probes a model with llmcompressor, run in a separate environment.

Usage: `python llmcompressor_worker.py compress MODEL FOLDER SCHEME` or `… read FOLDER QUESTIONS ANSWERS`. Imports nothing from
this project, which is not installed there. Rounds weights to nearest, without calibration, so it reads no report.
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
    except (
        ValueError
    ) as error:  # such as w4a16 with rows that are not a multiple of 128; it names only layers and sizes
        sys.exit(" ".join(str(error).split())[:400])


def probe(folder: str, questions: str, answers: str) -> None:
    """Probe a model. `questions`: JSON with `texts` and `prompts` (lists of token ids), `max_new_tokens`, `stops`, `pad`.

    Writes the log-probabilities of each text and the token ids of each answer to the folder `answers`.
    """
    import torch
    from safetensors.torch import save_file

    request, model, out = json.loads(Path(questions).read_text()), _load_compressed(folder).eval(), Path(answers)
    out.mkdir()
    with torch.inference_mode():
        outputs = {
            str(number): torch.log_softmax(
                model(input_ids=torch.tensor([ids], device=model.device)).logits[0].float().cpu(), -1
            )
            for number, ids in enumerate(request["texts"])
        }
        replies = _generate(model, request)
    save_file(outputs, out / "texts.safetensors")
    (out / "replies.json").write_text(json.dumps(replies))


def _generate(model: Any, request: dict[str, Any]) -> list[list[int]]:
    """Greedy, in one batch with left padding."""
    import torch

    longest = max(len(ids) for ids in request["prompts"])
    spaces = [longest - len(ids) for ids in request["prompts"]]
    rows = [[request["pad"]] * space + ids for space, ids in zip(spaces, request["prompts"], strict=True)]
    masks = [[0] * space + [1] * (longest - space) for space in spaces]
    output = model.generate(
        input_ids=torch.tensor(rows, device=model.device),
        attention_mask=torch.tensor(masks, device=model.device),
        max_new_tokens=request["max_new_tokens"],
        do_sample=False,
        eos_token_id=request["stops"],
        pad_token_id=request["pad"],
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
    """Decompress the weights once: without a GPU, this would otherwise happen for every token."""
    import torch
    from transformers.utils.quantization_config import CompressedTensorsConfig

    how = {} if torch.cuda.is_available() else {"dtype": torch.float32}
    return _load(folder, quantization_config=CompressedTensorsConfig(run_compressed=False), **how)


if __name__ == "__main__":
    {"compress": compress, "read": probe}[sys.argv[1]](*sys.argv[2:])
