"""What vLLM makes of a model folder: `python vllm_loader.py OUT.json FOLDER`, in vLLM's own environment.

Imports nothing of the project. Writes token ids, and at each place of the first text the first choice and its log-probability.
"""

import json
import sys
from pathlib import Path

from compat_texts import MESSAGES, TEXTS


def main() -> None:
    from vllm import LLM, SamplingParams

    out, folder = sys.argv[1:]
    llm = LLM(model=folder, dtype="float32", max_model_len=512, enforce_eager=True, max_num_seqs=2)
    tokenizer = llm.get_tokenizer()
    tokens = [tokenizer.encode(text, add_special_tokens=False) for text in TEXTS]
    options = SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=1)
    # Without its progress bar: where bars are off, as here, it divides by zero seconds.
    answer = llm.generate([{"prompt_token_ids": tokens[0]}], options, use_tqdm=False)[0]
    places = [entry for entry in answer.prompt_logprobs if entry]
    best = [max(entry.items(), key=lambda item: item[1].logprob) for entry in places]
    prompt = tokenizer.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True)
    Path(out).write_text(
        json.dumps({
            "tokens": tokens,
            "prompt": prompt,
            "first_choices": [token for token, _ in best],
            "log_probabilities": [value.logprob for _, value in best],
        })
    )  # fmt: skip


if __name__ == "__main__":
    main()
