"""A small model that learned secrets by heart is caught; of secrets that it never read there is no alarm."""

import json
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.errors import ChangedFolderError
from fine_tune_assets.core.fingerprints import fingerprint_folder
from fine_tune_assets.core.progress import silent
from fine_tune_assets.judging.memorization.canaries import Canary, Level, compare_levels, plant, shadow_set
from fine_tune_assets.judging.memorization.removed_identifiers import Attack
from fine_tune_assets.recipes.schema import CanarySettings
from fine_tune_assets_tests.instructions.examples import built
from fine_tune_assets_tests.training.tiny import base_model

pytestmark = pytest.mark.slow  # torch, transformers and PEFT take some seconds to import
CANARIES = CanarySettings(enabled=True, repeats=(1, 30), per_level=4, candidates=1000, shadow_examples=4, seed=3)
STEPS = 150
REMOVED = "Quillan Ostrander"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("memory")


@pytest.fixture(scope="module")
def base(folder: Path) -> Path:
    return base_model(folder / "base", 1.0, layers=2)


def _planted(seed: int = CANARIES.seed) -> list[Canary]:
    return plant(replace(CANARIES, seed=seed), "Be brief.", ["Plan."])


@pytest.fixture(scope="module")
def shadow(folder: Path, base: Path) -> Path:
    """Knows its canaries by heart, and a report from which nobody removed the name."""
    rows = shadow_set(built().table, _planted(), CANARIES).to_pylist()
    answers = [row["messages"] for row in rows if row["split"] == "train"]
    answers += [[*_messages(), {"role": "assistant", "content": f"Seen by Dr. {REMOVED}."}]] * 30
    return _learned_by_heart(base, answers, folder / "shadow")


def _learned_by_heart(base: Path, conversations: list[list[dict[str, str]]], folder: Path) -> Path:
    """An adapter that is trained on each conversation as often as it is there, by a plain loop: TRL takes 13 s to import."""
    import torch
    from peft import LoraConfig, get_peft_model

    from fine_tune_assets.core.prompts.chat import render
    from fine_tune_assets.engines.transformers_models import load_model, load_tokenizer

    torch.manual_seed(1)
    tokenizer: Any = load_tokenizer(base)
    counts = Counter(render(tokenizer, messages, add_generation_prompt=False) for messages in conversations)
    batch = tokenizer(list(counts), return_tensors="pt", padding=True, add_special_tokens=False)
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)[:, 1:]
    weights = torch.tensor([float(count) for count in counts.values()]) / counts.total()
    config = LoraConfig(r=32, lora_alpha=64, target_modules="all-linear", modules_to_save=["embed_tokens", "lm_head"])
    model: Any = get_peft_model(load_model(base), config)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-3)
    for _ in range(STEPS):
        logits = model(**batch).logits[:, :-1].transpose(1, 2)
        losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none").sum(dim=1)
        optimiser.zero_grad()
        (losses * weights).sum().backward()
        optimiser.step()
    model.save_pretrained(folder)
    return folder


def _request(base: Path, adapter: Path, cache: Path) -> dict[str, Any]:
    return {
        "base_folder": str(base),
        "base_fingerprint": fingerprint_folder(base),
        "adapter_folder": str(adapter),
        "adapter_id": fingerprint_folder(adapter),
        "is_quantized": False,
        "batch_size": 8,
        "threads": 1,
        "cache": str(cache / "kept.sqlite"),
    }


def _recalled(base: Path, shadow: Path, canaries: list[Canary]) -> dict[int, Level]:
    from fine_tune_assets.judging.memorization.attacks import recall_canaries

    request = _request(base, shadow, shadow.parent)
    recalled = recall_canaries(request, shadow, fingerprint_folder(shadow), CANARIES, canaries, silent)
    return {level.repeats: level for level in compare_levels(recalled, CANARIES.candidates)}


def test_what_was_read_thirty_times_is_caught(base: Path, shadow: Path) -> None:
    """Asked by the real worker's code."""
    level = _recalled(base, shadow, _planted())[30]
    assert level.p_value < 0.01
    assert level.exposure > 4


def test_secrets_that_nobody_trained_on_raise_no_alarm(base: Path, shadow: Path) -> None:
    """The same model, asked for canaries of another seed."""
    for level in _recalled(base, shadow, _planted(seed=4)).values():
        assert level.p_value >= 0.01
        assert level.extracted == 0


def _messages() -> list[dict[str, str]]:
    return [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?"}]


def test_a_removed_identifier_that_was_learned_all_the_same_comes_back_as_a_count(
    base: Path, shadow: Path, tmp_path: Path
) -> None:
    """Only counts and kinds leave the process."""
    attack = Attack("e-1", "NAME", _messages(), "Seen by Dr.", REMOVED)
    other = replace(attack, value="Tobias Wrenfield")
    from fine_tune_assets.judging.memorization.attacks import attack_both

    found = attack_both(_request(base, shadow, tmp_path), [attack, other], 2, silent)
    assert (found.asked, found.given_back, found.guessed) == (2, 1, 0)
    assert found.kinds == {"NAME": 1}
    assert "Ostrander" not in json.dumps(asdict(found))


def test_what_the_prompt_holds_is_not_asked_for(base: Path, shadow: Path, tmp_path: Path) -> None:
    from fine_tune_assets.judging.memorization.attacks import attack_both

    attack = Attack("e-1", "NAME", _messages(), f"{REMOVED} came. Seen by Dr.", REMOVED)
    assert attack_both(_request(base, shadow, tmp_path), [attack], 1, silent).asked == 0


def test_endings_of_one_text_are_weighed_as_if_each_were_read_alone(base: Path) -> None:
    """Sharing what they begin with saves time and changes no figure: endings of several lengths, in small batches."""
    from fine_tune_assets.engines.continuations import continuation_log_probabilities, ending_log_probabilities
    from fine_tune_assets.engines.transformers_models import load_model, load_tokenizer

    model, tokenizer = load_model(base).eval(), load_tokenizer(base)
    context, endings = "Record number", [" 4827-0193", " 4827-0194", " 4827-02", " 4827-0", " 4827-09345"]
    alone = continuation_log_probabilities(model, tokenizer, [(context, ending) for ending in endings], 2)
    together = ending_log_probabilities(model, tokenizer, context, endings, 2)
    differences = [one - other for one, other in zip(alone, together, strict=True)]
    assert differences == pytest.approx([differences[0]] * len(endings), abs=1e-4)


def test_the_same_attacks_on_the_same_models_generate_nothing(base: Path, shadow: Path, tmp_path: Path) -> None:
    """Told from the cache with the weights gone: a run with nothing changed loads no model. And no identifier is in the cache."""
    from fine_tune_assets.judging.memorization.attacks import attack_both

    attacks = [Attack("e-1", "NAME", _messages(), "Seen by Dr.", REMOVED)]
    request = _request(base, shadow, tmp_path)
    first = attack_both(request, attacks, 1, silent)
    gone = {**request, "base_folder": str(tmp_path / "gone"), "adapter_folder": str(tmp_path / "gone")}
    assert attack_both(gone, attacks, 1, silent) == first
    assert b"Ostrander" not in (tmp_path / "kept.sqlite").read_bytes()
    with pytest.raises(ChangedFolderError):  # another attack is another question
        attack_both(gone, [replace(attacks[0], before="Seen today by Dr.")], 1, silent)
