"""Stage 8: collects the parts of a release: the served weights, the prompt settings and the evidence for exactly one adapter.

`merging/` writes certificates, cards and the folder.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from fine_tune_assets.core.errors import GateClosedError, materialize_hint
from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.core.keys import public_key_file
from fine_tune_assets.core.prompts.retrieval_contract import RetrievalContract
from fine_tune_assets.core.releases.release_folders import (
    EVIDENCE,
    PROBES,
    RETRIEVAL,
    VERDICT_DOCUMENT,
    VERDICT_KEY,
    VERDICT_SIGNATURE,
)
from fine_tune_assets.core.shared_records import Verdict
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s06_adapters.adapters import read_training_set
from fine_tune_assets.defs.s08_merged_weights.merged_weights import require_prompt_contract
from fine_tune_assets.embeddings.encoder import encoder_version
from fine_tune_assets.instructions.set_exports import CARD as CARD_OF_SET
from fine_tune_assets.instructions.stored_sets import StoredInstructionSet
from fine_tune_assets.ledger.serving.verdict_documents import DOCUMENT, KEY_NAME, SIGNATURE
from fine_tune_assets.ledger.serving.verdicts import list_signers
from fine_tune_assets.merging.cards import (
    DATA_CARD,
    MODEL_CARD,
    ModelCardFacts,
    data_card,
    model_card,
    task_standings,
)
from fine_tune_assets.merging.certificates import (
    certificate_json,
    leakage_certificate,
    parity_certificate,
    qualification_certificate,
    require_parity,
    scrub_certificate,
)
from fine_tune_assets.merging.release_build import ReleaseParts
from fine_tune_assets.merging.sbom import Material, Package, bill_of_materials, installed_packages
from fine_tune_assets.phi.measurement.recall import ALL, DIRECT
from fine_tune_assets.phi.missed_identifiers.missed_terms import REVIEWER_MARKS
from fine_tune_assets.recipes.export_settings import LORA
from fine_tune_assets.recipes.recipe_parts import dump_for_release
from fine_tune_assets.recipes.schema import Recipe
from fine_tune_assets.retrieval.search import index_format
from fine_tune_assets.tables.judging_rows import JudgeAgreement
from fine_tune_assets.tables.merging_rows import MergedWeights, QuantizedWeights
from fine_tune_assets.tables.record_classes import iter_records
from fine_tune_assets.tables.scrubbing_rows import ScrubRecall
from fine_tune_assets.tables.training_rows import Adapter, BaseModel

CERTIFICATE_TABLES = ("judge_agreement", "scrub_recall")
"""The tables that certificates are made from. A release keeps its certificates when they change."""


@dataclass(frozen=True)
class ReleaseInputs:
    """The rows that a release is built from. Each refers to its predecessor."""

    merged: MergedWeights
    export: QuantizedWeights | None
    """The export that is served; None if vLLM serves the merged weights."""
    adapter: Adapter
    base: BaseModel
    verdict: Verdict
    exports: tuple[QuantizedWeights, ...]
    """All exports, including the served one."""

    @property
    def served_format(self) -> str:
        return self.export.format if self.export else "safetensors"

    @property
    def served_fingerprint(self) -> str:
        return str(self.export.fingerprint if self.export else self.merged.weights_fingerprint)


def find_served_export(
    recipe: Recipe, exports: Sequence[QuantizedWeights], merged: MergedWeights
) -> QuantizedWeights | None:
    """The export that the recipe's engine serves; None for merged weights. Raises GateClosedError if it is missing or invalid."""
    wanted = recipe.served_export
    if wanted is None:
        return None
    found = next((export for export in exports if export.format == wanted), None)
    if found is None:
        raise GateClosedError(
            f"There is no {wanted} export, which {recipe.engine} would serve. {materialize_hint('quantized_weights')}"
        )
    require_parity(found)
    if found.weights_fingerprint != merged.weights_fingerprint:
        raise GateClosedError(
            f"The {wanted} export was made from other weights than {merged.weights_fingerprint}. "
            + materialize_hint("quantized_weights")
        )
    return found


def release_bindings(inputs: ReleaseInputs, prompt_fingerprint: str) -> dict[str, str]:
    """The ids that a release is bound to, as in the ledger and its manifest."""
    return {
        "line": inputs.verdict.line,
        "verdict_id": inputs.verdict.verdict_id,
        "adapter_id": inputs.adapter.adapter_id,
        "base_fingerprint": inputs.base.fingerprint,
        "instruction_set_fingerprint": inputs.adapter.instruction_set_fingerprint,
        "weights_fingerprint": inputs.merged.weights_fingerprint,
        "prompt_fingerprint": prompt_fingerprint,
    }


def build_retrieval_contract(recipe: Recipe) -> RetrievalContract:
    """How the release answers from documents. The index is not part of a release: see docs/decisions/0017-serving.md."""
    wanted = recipe.retrieval
    return RetrievalContract(
        wanted.template,
        wanted.nothing_found,
        wanted.passages,
        wanted.minimum_score,
        index_format(encoder_version()),
        wanted.enabled,
    )


@dataclass(frozen=True)
class PartsCollector:
    """Gathers the parts of one release."""

    installation: Installation
    inputs: ReleaseInputs

    def collect(self) -> ReleaseParts:
        contract = require_prompt_contract(self.installation, self.inputs.merged.folder, self.inputs.adapter)
        model = self.inputs.export.path if self.inputs.export else self.inputs.merged.folder
        probes = (self.inputs.export or self.inputs.merged).probes_file
        assert model is not None
        assert probes is not None  # weights that passed the parity check have both
        fingerprint = self.inputs.export.fingerprint if self.inputs.export else self.inputs.merged.weights_fingerprint
        assert fingerprint is not None
        return ReleaseParts(
            model=self.installation.path(model),
            model_fingerprint=fingerprint,
            contract=contract,
            facts=self._facts(contract.fingerprint),
            documents=self._documents(),
            files={PROBES: self.installation.path(probes)},
            signatures={
                VERDICT_SIGNATURE: self._verdict_file(SIGNATURE).read_bytes(),
                VERDICT_KEY: public_key_file(self.installation.layout.keys, KEY_NAME).read_bytes(),
            },
        )

    @cached_property
    def _recipe(self) -> dict[str, Any]:
        """The recipe in force as plain values, with all defaults."""
        return dump_for_release(self.installation.recipe)

    @cached_property
    def _set(self) -> StoredInstructionSet:
        return read_training_set(self.installation, self.inputs.adapter.instruction_set_fingerprint)

    @cached_property
    def _signers(self) -> tuple[str, ...]:
        with self.installation.ledger() as ledger:
            return tuple(sorted(list_signers(ledger, self.inputs.verdict.verdict_id)))

    def _facts(self, prompt_fingerprint: str) -> dict[str, Any]:
        inputs = self.inputs
        # A release with only an adapter names the base model file that it belongs to.
        base_gguf = {"name": inputs.base.source, "sha256": inputs.base.source_fingerprint}
        return {
            **release_bindings(inputs, prompt_fingerprint),
            "engine": self._recipe["engine"],
            "format": inputs.served_format,
            **({"base_gguf": base_gguf} if inputs.served_format == LORA else {}),
            "served_fingerprint": inputs.served_fingerprint,
            "base_model": inputs.base.name,
            "base_licence": inputs.base.licence,
            "verdict_decision": inputs.verdict.decision,
            "verdict_signers": list(self._signers),
            "verdict_reasons": list(inputs.verdict.reasons),
            "verdict_tasks": task_standings(json.loads(inputs.verdict.evidence)["metrics"]),
        }

    def _verdict_file(self, name: str) -> Path:
        return self.installation.layout.verdicts / self.inputs.verdict.verdict_id / name

    def _documents(self) -> dict[str, str]:
        facts = self._model_facts()
        certificates = {
            "scrub_certificate": facts.scrub,
            "leakage_certificate": facts.leakage,
            "judge_qualification": facts.judge,
            "parity": facts.parity,
        }
        return {
            VERDICT_DOCUMENT: self._verdict_file(DOCUMENT).read_text(encoding="utf-8"),
            f"{EVIDENCE}/instruction_set.json": (self._set.folder / "manifest.json").read_text(encoding="utf-8"),
            **{f"{EVIDENCE}/{name}.json": certificate_json(values) for name, values in certificates.items()},
            RETRIEVAL: build_retrieval_contract(self.installation.recipe).as_json(),
            "recipe.yaml": yaml.safe_dump(self._recipe, sort_keys=False, allow_unicode=True),
            "sbom.cdx.json": bill_of_materials(*self._materials(), self._packages()),
            MODEL_CARD: model_card(facts),
            DATA_CARD: data_card(
                (self._set.folder / CARD_OF_SET).read_text(encoding="utf-8"), facts.scrub, facts.leakage
            ),
        }

    def _model_facts(self) -> ModelCardFacts:
        document = json.loads(self._verdict_file(DOCUMENT).read_text(encoding="utf-8"))
        return ModelCardFacts(
            recipe=self._recipe,
            base=self.inputs.base,
            adapter=self.inputs.adapter,
            engine=self._recipe["engine"],
            served_format=self.inputs.served_format,
            counts=self._set.manifest["counts"],
            verdict=document,
            signers=self._signers,
            scrub=self._scrub_certificate(),
            leakage=leakage_certificate(self._set.manifest),
            judge=qualification_certificate(document["evidence"], self._agreement(document["evidence"])),
            parity=parity_certificate(self.inputs.merged, self.inputs.export, self.inputs.exports),
        )

    def _scrub_certificate(self) -> dict[str, Any]:
        versions = (self._set.manifest.get("evidence") or {}).get("scrubber_versions", [])
        settings = self._recipe["scrub"]
        rows = self.installation.stored("scrub_recall").find("scrubber_version", versions)
        floors = {ALL: settings["recall_floor"], DIRECT: settings["direct_recall_floor"]}
        return scrub_certificate(versions, floors, [ScrubRecall.from_row(row) for row in rows], REVIEWER_MARKS)

    def _agreement(self, evidence: Mapping[str, Any]) -> list[JudgeAgreement] | None:
        """The rows that the verdict rests on; None if the table has changed since."""
        table = self.installation.stored("judge_agreement").table()
        is_same = fingerprint_table(table) == evidence.get("fingerprints", {}).get("judge_agreement")
        return list(iter_records(JudgeAgreement, table)) if is_same else None

    def _materials(self) -> tuple[Material, list[Material]]:
        inputs, licences = self.inputs, (self._set.manifest.get("evidence") or {}).get("general_licences", {})
        licence, name = inputs.base.licence, self._recipe["name"]
        set_fingerprint = inputs.adapter.instruction_set_fingerprint
        return Material("model", name, inputs.served_fingerprint, licence, f"Served weights: {inputs.served_format}"), [
            Material(
                "model", inputs.base.name, inputs.base.fingerprint, licence, f"Base model from {inputs.base.source}"
            ),
            Material("model", f"{name} adapter", inputs.adapter.adapter_id, licence, inputs.adapter.method),
            Material(
                "model", f"{name} merged", inputs.merged.weights_fingerprint, licence, "Base model and adapter as one"
            ),
            Material(
                "data", f"{name} instruction set", set_fingerprint, "", "Approved examples; not part of the release"
            ),
            *(
                Material("data", source, "", stated, "General instructions")
                for source, stated in sorted(licences.items())
            ),
        ]

    def _packages(self) -> list[Package]:
        found = installed_packages("graph")
        if self._recipe["engine"] != "vllm":
            return found
        root = self.installation.settings.vllm_interpreter.parent.parent
        return found + installed_packages("vllm", sorted(root.glob("lib/python*/site-packages")))
