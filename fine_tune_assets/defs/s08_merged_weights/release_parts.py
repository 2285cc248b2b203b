"""Stage 8, what a release is made of: the served weights, their prompt, and every proof that there is of them.

Belongs here: finding each part, for exactly the adapter in hand. Must stay out: what a certificate or a card says, and how the
folder is written (see `merging/`).
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
from fine_tune_assets.core.records import Verdict
from fine_tune_assets.core.releases.release_folders import (
    EVIDENCE,
    PROBES,
    RETRIEVAL,
    VERDICT_DOCUMENT,
    VERDICT_KEY,
    VERDICT_SIGNATURE,
)
from fine_tune_assets.core.serving_engines import reads_folder
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s06_adapters.adapters import set_learned_from
from fine_tune_assets.defs.s08_merged_weights.merged_weights import kept_contract
from fine_tune_assets.embeddings.encoder import encoder_version
from fine_tune_assets.instructions.exports import CARD as CARD_OF_SET
from fine_tune_assets.instructions.stored_sets import StoredInstructionSet
from fine_tune_assets.ledger.serving.verdict_documents import DOCUMENT, KEY, SIGNATURE
from fine_tune_assets.ledger.serving.verdicts import signers_of
from fine_tune_assets.merging.cards import DATA_CARD, MODEL_CARD, ModelFacts, data_card, model_card
from fine_tune_assets.merging.certificates import (
    certificate_json,
    judge_licence,
    leakage_certificate,
    parity_certificate,
    require_parity,
    scrub_certificate,
)
from fine_tune_assets.merging.release_build import ReleaseParts
from fine_tune_assets.merging.sbom import Material, Package, bill_of_materials, installed_packages
from fine_tune_assets.phi.measurement.recall import ALL, DIRECT
from fine_tune_assets.phi.missed_identifiers.terms import MARKED_BY_REVIEWERS
from fine_tune_assets.recipes.exports import LORA
from fine_tune_assets.recipes.loader import plain_values
from fine_tune_assets.recipes.schema import Recipe
from fine_tune_assets.retrieval.search import index_format
from fine_tune_assets.tables.judging import JudgeAgreement
from fine_tune_assets.tables.merging import MergedWeights, QuantizedWeights
from fine_tune_assets.tables.phi import ScrubRecall
from fine_tune_assets.tables.records import records_of
from fine_tune_assets.tables.training import Adapter, BaseModel

CERTIFIED = ("judge_agreement", "scrub_recall")
"""The tables that certificates are made of. A release keeps its own when they change."""


@dataclass(frozen=True)
class Made:
    """The rows that a release is made of: each names the one before it."""

    merged: MergedWeights
    export: QuantizedWeights | None
    """What llama.cpp serves; None where vLLM serves the merged weights."""
    adapter: Adapter
    base: BaseModel
    verdict: Verdict
    exports: tuple[QuantizedWeights, ...]
    """All that were made, the one that is served too."""

    @property
    def served_format(self) -> str:
        return self.export.format if self.export else "safetensors"

    @property
    def served_fingerprint(self) -> str:
        return str(self.export.fingerprint if self.export else self.merged.weights_fingerprint)


def served_export(
    recipe: Recipe, exports: Sequence[QuantizedWeights], merged: MergedWeights
) -> QuantizedWeights | None:
    """The export that the recipe's engine serves: the first one. None for vLLM. Raises GateClosedError if it is not there."""
    if reads_folder(recipe.engine):
        return None
    wanted = recipe.exports[0]
    found = next((export for export in exports if export.format == wanted), None)
    if found is None:
        raise GateClosedError(
            f"There is no {wanted} export, which is what llama.cpp serves. {materialize_hint('quantized_weights')}"
        )
    require_parity(found)
    if found.weights_fingerprint != merged.weights_fingerprint:
        raise GateClosedError(f"The export is of other weights. {materialize_hint('quantized_weights')}")
    return found


def bound_by(made: Made, prompt_fingerprint: str) -> dict[str, str]:
    """What the release is bound to, as the ledger and its manifest name it."""
    return {
        "line": made.verdict.line,
        "verdict_id": made.verdict.verdict_id,
        "adapter_id": made.adapter.adapter_id,
        "base_fingerprint": made.base.fingerprint,
        "instruction_set_fingerprint": made.adapter.instruction_set_fingerprint,
        "weights_fingerprint": made.merged.weights_fingerprint,
        "prompt_fingerprint": prompt_fingerprint,
    }


def retrieval_contract(recipe: Recipe) -> RetrievalContract:
    """How the release answers from documents. Which index does is no part of it: see docs/decisions/0039."""
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
class Gathered:
    """Gathers the parts of one release."""

    installation: Installation
    made: Made

    def parts(self) -> ReleaseParts:
        contract = kept_contract(self.installation, self.made.merged.folder, self.made.adapter)
        model = self.made.export.file if self.made.export else self.made.merged.folder
        probes = (self.made.export or self.made.merged).probes_file
        assert model is not None
        assert probes is not None  # what passed its hop has both
        return ReleaseParts(
            model=self.installation.path(model),
            contract=contract,
            facts=self._facts(contract.fingerprint),
            documents=self._documents(),
            files={PROBES: self.installation.path(probes)},
            seals={
                VERDICT_SIGNATURE: self._verdict_file(SIGNATURE).read_bytes(),
                VERDICT_KEY: public_key_file(self.installation.layout.keys, KEY).read_bytes(),
            },
        )

    @cached_property
    def _recipe(self) -> dict[str, Any]:
        """As it was in force, with every default: plain values."""
        return plain_values(self.installation.recipe)

    @cached_property
    def _set(self) -> StoredInstructionSet:
        return set_learned_from(self.installation, self.made.adapter.instruction_set_fingerprint)

    @cached_property
    def _signers(self) -> tuple[str, ...]:
        with self.installation.ledger() as ledger:
            return tuple(sorted(signers_of(ledger, self.made.verdict.verdict_id)))

    def _facts(self, prompt_fingerprint: str) -> dict[str, Any]:
        made = self.made
        # For a release that holds an adapter only: the file that it belongs to.
        base_gguf = {"name": made.base.source, "sha256": made.base.source_fingerprint}
        return {
            **bound_by(made, prompt_fingerprint),
            "engine": self._recipe["engine"],
            "format": made.served_format,
            **({"base_gguf": base_gguf} if made.served_format == LORA else {}),
            "served_fingerprint": made.served_fingerprint,
            "base_model": made.base.name,
            "base_licence": made.base.licence,
            "verdict_decision": made.verdict.decision,
            "verdict_signers": list(self._signers),
            "verdict_reasons": list(made.verdict.reasons),
        }

    def _verdict_file(self, name: str) -> Path:
        return self.installation.layout.verdicts / self.made.verdict.verdict_id / name

    def _documents(self) -> dict[str, str]:
        facts = self._model_facts()
        certificates = {
            "scrub_certificate": facts.scrub,
            "leakage_certificate": facts.leakage,
            "judge_licence": facts.judge,
            "parity": facts.parity,
        }
        return {
            VERDICT_DOCUMENT: self._verdict_file(DOCUMENT).read_text(encoding="utf-8"),
            f"{EVIDENCE}/instruction_set.json": (self._set.folder / "manifest.json").read_text(encoding="utf-8"),
            **{f"{EVIDENCE}/{name}.json": certificate_json(values) for name, values in certificates.items()},
            RETRIEVAL: retrieval_contract(self.installation.recipe).as_json(),
            "recipe.yaml": yaml.safe_dump(self._recipe, sort_keys=False, allow_unicode=True),
            "sbom.cdx.json": bill_of_materials(*self._materials(), self._packages()),
            MODEL_CARD: model_card(facts),
            DATA_CARD: data_card(
                (self._set.folder / CARD_OF_SET).read_text(encoding="utf-8"), facts.scrub, facts.leakage
            ),
        }

    def _model_facts(self) -> ModelFacts:
        document = json.loads(self._verdict_file(DOCUMENT).read_text(encoding="utf-8"))
        return ModelFacts(
            recipe=self._recipe,
            base=self.made.base,
            adapter=self.made.adapter,
            engine=self._recipe["engine"],
            served_format=self.made.served_format,
            counts=self._set.manifest["counts"],
            verdict=document,
            signers=self._signers,
            scrub=self._scrub(),
            leakage=leakage_certificate(self._set.manifest),
            judge=judge_licence(document["evidence"], self._agreement(document["evidence"])),
            parity=parity_certificate(self.made.merged, self.made.export, self.made.exports),
        )

    def _scrub(self) -> dict[str, Any]:
        versions = (self._set.manifest.get("evidence") or {}).get("scrubber_versions", [])
        settings = self._recipe["scrub"]
        rows = self.installation.stored("scrub_recall").find("scrubber_version", versions)
        floors = {ALL: settings["recall_floor"], DIRECT: settings["direct_recall_floor"]}
        return scrub_certificate(versions, floors, [ScrubRecall.of(row) for row in rows], MARKED_BY_REVIEWERS)

    def _agreement(self, evidence: Mapping[str, Any]) -> list[JudgeAgreement] | None:
        """The rows that the verdict rests on, as long as the table is the one that it names."""
        table = self.installation.stored("judge_agreement").table()
        is_same = fingerprint_table(table) == evidence.get("fingerprints", {}).get("judge_agreement")
        return list(records_of(JudgeAgreement, table)) if is_same else None

    def _materials(self) -> tuple[Material, list[Material]]:
        made, licences = self.made, (self._set.manifest.get("evidence") or {}).get("general_licences", {})
        licence, name = made.base.licence, self._recipe["name"]
        set_fingerprint = made.adapter.instruction_set_fingerprint
        return Material("model", name, made.served_fingerprint, licence, f"What is served: {made.served_format}"), [
            Material("model", made.base.name, made.base.fingerprint, licence, f"Base model from {made.base.source}"),
            Material("model", f"{name} adapter", made.adapter.adapter_id, licence, made.adapter.method),
            Material(
                "model", f"{name} merged", made.merged.weights_fingerprint, licence, "Base model and adapter as one"
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
