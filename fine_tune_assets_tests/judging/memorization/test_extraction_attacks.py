"""A small model that memorized secrets is detected; secrets outside its training raise no alarm."""

import json
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.errors import ChangedFolderError
from fine_tune_assets.core.fingerprints import fingerprint_folder
from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets.judging.memorization.planted_secrets import (
    PlantedSecret,
    RepeatLevel,
    build_shadow_set,
    compare_levels,
    plant_secrets,
)
from fine_tune_assets.judging.memorization.removed_identifiers import ExtractionAttack
from fine_tune_assets.recipes.schema import PlantedSecretSettings
from fine_tune_assets_tests.instructions.examples import built
from fine_tune_assets_tests.training.tiny_training import base_model

pytestmark = pytest.mark.slow  # torch, transformers and PEFT take some seconds to import
SETTINGS = PlantedSecretSettings(
    enabled=True, repeats=(1, 30), per_level=4, alternatives=1000, shadow_examples=4, seed=3
)
STEPS = 150
REMOVED = "Quillan Ostrander"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("memory")


@pytest.fixture(scope="module")
def base(folder: Path) -> Path:
    return base_model(folder / "base", 1.0, layers=2)


def _planted(seed: int = SETTINGS.seed) -> list[PlantedSecret]:
    return plant_secrets(replace(SETTINGS, seed=seed), "Be brief.", ["Plan."])


@pytest.fixture(scope="module")
def shadow(folder: Path, base: Path) -> Path:
    """An adapter that memorized the planted secrets and a report with an unremoved name."""
    rows = build_shadow_set(built().table, _planted(), SETTINGS).to_pylist()
    answers = [row["messages"] for row in rows if row["split"] == "train"]
    answers += [[*_messages(), {"role": "assistant", "content": f"Seen by Dr. {REMOVED}."}]] * 30
    return _memorizing_adapter(base, answers, folder / "shadow")


def _memorizing_adapter(base: Path, conversations: list[list[dict[str, str]]], folder: Path) -> Path:
    """Train an adapter on the conversations, weighted by count, in a plain loop, because importing TRL takes 13 s."""
    import torch
    from peft import LoraConfig, get_peft_model

    from fine_tune_assets.core.prompts.conversations import render
    from fine_tune_assets.engines.transformers_models import load_model, load_tokenizer

    torch.manual_seed(1)
    tokenizer: Any = load_tokenizer(base)
    counts = Counter(render(tokenizer, messages, add_generation_prompt=False) for messages in conversations)
    batch = tokenizer(list(counts), return_tensors="pt", padding=True, add_special_tokens=False)
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)[:, 1:]
    weights = torch.tensor([float(count) for count in counts.values()]) / counts.total()
    config = LoraConfig(r=32, lora_alpha=64, target_modules="all-linear", modules_to_save=["embed_tokens", "lm_head"])
    model: Any = get_peft_model(load_model(base), config)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-3)
    for _ in range(STEPS):
        logits = model(**batch).logits[:, :-1].transpose(1, 2)
        losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none").sum(dim=1)
        optimizer.zero_grad()
        (losses * weights).sum().backward()
        optimizer.step()
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


def _recalled(base: Path, shadow: Path, secrets: list[PlantedSecret]) -> dict[int, RepeatLevel]:
    from fine_tune_assets.judging.memorization.extraction_attacks import recall_secrets

    request = _request(base, shadow, shadow.parent)
    recalled = recall_secrets(request, shadow, fingerprint_folder(shadow), SETTINGS, secrets, ignore_progress)
    return {level.repeats: level for level in compare_levels(recalled, SETTINGS.alternatives)}


def test_secrets_repeated_thirty_times_are_detected(base: Path, shadow: Path) -> None:
    """Runs the code of the worker."""
    level = _recalled(base, shadow, _planted())[30]
    assert level.p_value < 0.01
    assert level.exposure > 4


def test_secrets_outside_the_training_raise_no_alarm(base: Path, shadow: Path) -> None:
    """The same model with secrets of another seed."""
    for level in _recalled(base, shadow, _planted(seed=4)).values():
        assert level.p_value >= 0.01
        assert level.extracted == 0


def _messages() -> list[dict[str, str]]:
    return [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?"}]


def test_a_memorized_identifier_is_reported_as_a_count(base: Path, shadow: Path, tmp_path: Path) -> None:
    """Only counts and kinds leave the process."""
    attack = ExtractionAttack("e-1", "NAME", _messages(), "Seen by Dr.", REMOVED)
    other = replace(attack, value="Tobias Wrenfield")
    from fine_tune_assets.judging.memorization.extraction_attacks import attack_both

    found = attack_both(_request(base, shadow, tmp_path), [attack, other], 2, ignore_progress)
    assert (found.attempted, found.recovered, found.guessed_by_base) == (2, 1, 0)
    assert found.kinds == {"NAME": 1}
    assert "Ostrander" not in json.dumps(asdict(found))


def test_a_value_in_the_prompt_is_not_tested(base: Path, shadow: Path, tmp_path: Path) -> None:
    from fine_tune_assets.judging.memorization.extraction_attacks import attack_both

    attack = ExtractionAttack("e-1", "NAME", _messages(), f"{REMOVED} came. Seen by Dr.", REMOVED)
    assert attack_both(_request(base, shadow, tmp_path), [attack], 1, ignore_progress).attempted == 0


def test_shared_prefixes_do_not_change_the_log_probabilities(base: Path) -> None:
    """Endings of several lengths, in small batches."""
    from fine_tune_assets.engines.likelihoods import continuation_log_probabilities, ending_log_probabilities
    from fine_tune_assets.engines.transformers_models import load_model, load_tokenizer

    model, tokenizer = load_model(base).eval(), load_tokenizer(base)
    context, endings = "Record number", [" 4827-0193", " 4827-0194", " 4827-02", " 4827-0", " 4827-09345"]
    alone = continuation_log_probabilities(model, tokenizer, [(context, ending) for ending in endings], 2)
    together = ending_log_probabilities(model, tokenizer, context, endings, 2)
    differences = [one - other for one, other in zip(alone, together, strict=True)]
    assert differences == pytest.approx([differences[0]] * len(endings), abs=1e-4)


def test_repeated_attacks_use_the_cache(base: Path, shadow: Path, tmp_path: Path) -> None:
    """An unchanged run loads no model, and the cache contains no identifier."""
    from fine_tune_assets.judging.memorization.extraction_attacks import attack_both

    attacks = [ExtractionAttack("e-1", "NAME", _messages(), "Seen by Dr.", REMOVED)]
    request = _request(base, shadow, tmp_path)
    first = attack_both(request, attacks, 1, ignore_progress)
    gone = {**request, "base_folder": str(tmp_path / "gone"), "adapter_folder": str(tmp_path / "gone")}
    assert attack_both(gone, attacks, 1, ignore_progress) == first
    assert b"Ostrander" not in (tmp_path / "kept.sqlite").read_bytes()
    with pytest.raises(ChangedFolderError):  # another attack is not cached
        attack_both(gone, [replace(attacks[0], prefix="Seen today by Dr.")], 1, ignore_progress)
