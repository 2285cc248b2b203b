"""Complete signed releases for tests; only the weights are a few bytes."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fine_tune_assets.core.fingerprints import fingerprint_file, fingerprint_folder
from fine_tune_assets.core.keys import public_key_file
from fine_tune_assets.core.prompts.prompt_contract import PromptContract
from fine_tune_assets.core.releases.release_folders import (
    VERDICT_DOCUMENT,
    VERDICT_KEY,
    VERDICT_SIGNATURE,
    ReleaseFolder,
)
from fine_tune_assets.core.shared_records import Verdict
from fine_tune_assets.ledger.serving.verdict_documents import KEY_NAME, SIGNATURE, write_document
from fine_tune_assets.merging.cards import ModelCardFacts, data_card, model_card
from fine_tune_assets.merging.certificates import (
    certificate_json,
    leakage_certificate,
    parity_certificate,
    qualification_certificate,
    scrub_certificate,
)
from fine_tune_assets.merging.release_build import ReleaseParts, build_release
from fine_tune_assets.merging.sbom import Material, Package, bill_of_materials
from fine_tune_assets.tables.merging_rows import MergedWeights, QuantizedWeights
from fine_tune_assets.tables.scrubbing_rows import ScrubRecall
from fine_tune_assets.tables.training_rows import Adapter, BaseModel
from fine_tune_assets_tests.ledger.ledger_rows import make_verdict
from fine_tune_assets_tests.record_factory import made

CONTRACT = PromptContract("Be brief.", "{{ x }}", (), (2,), 2)
FIGURE: dict[str, Any] = {
    "family": "target", "name": "grade", "unit": "points", "candidate": 7.25, "incumbent": 6.5, "difference": 0.75,
    "low": 0.31, "high": 1.19, "p": 0.001, "adjusted_p": 0.001, "items": 40, "margin": 0.0, "outcome": "passes",
    "is_within_margin": True, "needed_items": None, "reason": "",
}  # fmt: skip
UNKNOWN: dict[str, Any] = {
    **FIGURE, "family": "abilities", "name": "copa", "unit": "share", "candidate": None, "incumbent": None,
    "difference": None, "low": None, "high": None, "margin": 0.1, "outcome": "unknown", "reason": "It was not measured.",
}  # fmt: skip
JUDGE = {
    "version": "j1",
    "kind": "verifier",
    "agreement": 0.61,
    "floor": 0.4,
    "is_qualified": True,
    "failure_reason": "",
}
EVIDENCE = {"judge": JUDGE, "metrics": [FIGURE, UNKNOWN], "fingerprints": {"judge_agreement": "a" * 64}}
RECALL = [
    made(
        ScrubRecall, labelled_set="asq_phi", measure="masked_recall", label=label, hits=hits, total=100, value=hits / 100,
        low=0.9, high=0.99, scrubber_version="s1",
    )
    for label, hits in (("all", 95), ("direct", 98))
]  # fmt: skip
SET: dict[str, Any] = {
    "fingerprint": "set-1",
    "counts": {"train": 30, "validation": 5, "test": 10, "general": 3},
    "leakage_certificate": "The set holds 30 train, 5 validation, 10 test examples of 20 patients.",
    "evidence": {"leakage": {"is_valid": True, "search_description": "exact, near"}, "scrubber_versions": ["s1"]},
}
BASE = made(
    BaseModel, name="smollm2-135m-instruct", architecture="LlamaForCausalLM", parameter_count=134515008,
    source="a package", licence="Apache-2.0", fingerprint="b" * 64,
)  # fmt: skip
ADAPTER = made(
    Adapter, method="lora", trained_row_count=30, steps=9, first_validation_loss=2.5, best_validation_loss=1.75,
    instruction_set_fingerprint="set-1",
)  # fmt: skip
HOP: dict[str, Any] = {
    "parity_tokens": 1000, "greedy_agreement": None, "parity_answers": 8, "loss_increase": 0.0, "maximum_kl": 0.02,
    "minimum_top1": None, "minimum_greedy_agreement": None, "maximum_loss_increase": None, "is_passed": True,
    "failure_reason": "",
}  # fmt: skip
MERGED = made(
    MergedWeights, adapter_id="a" * 64, weights_fingerprint="d" * 64, base_fingerprint="b" * 64, dtype="float16",
    mean_kl=0.0001, top1_agreement=None, size_bytes=9, folder="weights/x", probes_fingerprint="p",
    **{**HOP, "maximum_kl": 0.002},
)  # fmt: skip
EXPORT = made(
    QuantizedWeights, format="q8_0", weights_fingerprint="d" * 64, fingerprint="e" * 64, mean_kl=0.0015, top1_agreement=0.99,
    **{**HOP, "minimum_top1": 0.95}, path="weights/y/model.gguf",
)  # fmt: skip
MEASURED: dict[str, Any] = {
    "top1_agreement": 0.99, "greedy_agreement": 1.0, "minimum_top1": 0.95, "minimum_greedy_agreement": 0.75,
    "maximum_loss_increase": 0.01,
}  # fmt: skip
"""Metrics that a release's hop must have and HOP lacks, since cards also show missing metrics."""
RECIPE: dict[str, Any] = {"name": "demo", "description": "Clinical sections.", "tasks": [{"name": "subjective"}]}


def model_facts(verdict: Verdict, **changes: Any) -> ModelCardFacts:
    document = {**vars(verdict), "reasons": list(verdict.reasons), "evidence": json.loads(verdict.evidence)}
    values: dict[str, Any] = {
        "recipe": RECIPE,
        "base": BASE,
        "adapter": ADAPTER,
        "engine": "llama_cpp",
        "served_format": "q8_0",
        "counts": SET["counts"],
        "verdict": document,
        "signers": (),
        "scrub": scrub_certificate(["s1"], {"all": 0.9, "direct": 0.95}, RECALL, "marked"),
        "leakage": leakage_certificate(SET),
        "judge": qualification_certificate(document["evidence"], []),
        "parity": parity_certificate(MERGED, EXPORT),
    }
    return ModelCardFacts(**{**values, **changes})


def release_parts(
    root: Path,
    *,
    verdict: Verdict | None = None,
    facts: Mapping[str, Any] | None = None,
    without: tuple[str, ...] = (),
    other: Mapping[str, str] | None = None,
    model: Path | None = None,
) -> ReleaseParts:
    """`facts` override the manifest, `without` omits files, `other` replaces files; keys and verdicts are below `root`."""
    verdict = verdict or make_verdict("promote", evidence=json.dumps(EVIDENCE, sort_keys=True))
    document = write_document(root / "verdicts", root / "keys", verdict)
    gguf = model or root / "any.gguf"
    if model is None:
        gguf.write_bytes(b"weights")
    served = fingerprint_file(gguf) if gguf.is_file() else fingerprint_folder(gguf)
    facts_of_model = model_facts(verdict, parity=_parity(verdict, served, is_file=gguf.is_file()))
    certificates = {"scrub_certificate": facts_of_model.scrub, "leakage_certificate": facts_of_model.leakage}
    certificates |= {"judge_qualification": facts_of_model.judge, "parity": facts_of_model.parity}
    documents = {
        VERDICT_DOCUMENT: document.read_text(encoding="utf-8"),
        "evidence/instruction_set.json": json.dumps(SET),
        **{f"evidence/{name}.json": certificate_json(values) for name, values in certificates.items()},
        "probes.json": "{}",
        "knowledge_index.json": "{}",
        "recipe.yaml": "name: demo\n",
        "sbom.cdx.json": sbom(),
        "README.md": model_card(facts_of_model),
        "DATASET_CARD.md": data_card("# Instruction set", facts_of_model.scrub, facts_of_model.leakage),
    }
    bound = ("line", "verdict_id", "adapter_id", "base_fingerprint", "instruction_set_fingerprint")
    manifest = {
        **{name: getattr(verdict, name) for name in bound},
        "weights_fingerprint": "d" * 64 if gguf.is_file() else served,
        "engine": "llama_cpp",
        "served_fingerprint": served,
    }
    return ReleaseParts(
        model=gguf,
        model_fingerprint=served,
        contract=CONTRACT,
        facts={**manifest, **(facts or {})},
        documents={name: text for name, text in {**documents, **(other or {})}.items() if name not in without},
        signatures={
            VERDICT_SIGNATURE: document.with_name(SIGNATURE).read_bytes(),
            VERDICT_KEY: public_key_file(root / "keys", KEY_NAME).read_bytes(),
        },
    )


def _parity(verdict: Verdict, served: str, *, is_file: bool) -> dict[str, Any]:
    """From the verdict's adapter to the served model."""
    merged = replace(MERGED, **MEASURED, adapter_id=verdict.adapter_id)
    if is_file:
        return parity_certificate(merged, replace(EXPORT, **MEASURED, fingerprint=served))
    return parity_certificate(replace(merged, weights_fingerprint=served), None)


def sbom() -> str:
    model = Material("model", "demo", "c" * 64, "Apache-2.0", "Served model: q8_0")
    materials = [
        Material("model", "smollm2", "b" * 64, "LicenseRef-of-our-own", "Base model"),
        Material("data", "dolly", "", "CC BY-SA 3.0", "General instructions"),
    ]
    packages = [
        Package("torch", "2.11.0", "BSD-3-Clause", "graph"),
        Package("orjson", "3.1", "MPL-2.0 AND (Apache-2.0 OR MIT)", "graph"),
        Package("torch", "2.11.0", "", "vllm"),
    ]
    return bill_of_materials(model, materials, packages)


def whole_release(root: Path, **changes: Any) -> ReleaseFolder:
    """Signed with the pair in `root/keys`."""
    return build_release(root / "releases", release_parts(root, **changes), root / "keys")
