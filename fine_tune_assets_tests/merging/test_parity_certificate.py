"""A hop that nobody measured is closed, and the certificate names each. No model is loaded."""

from typing import Any

import pytest

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.merging.certificates import missing_proof, parity_certificate, require_parity, shown_hops
from fine_tune_assets.tables.merging import MergedWeights, QuantizedWeights
from fine_tune_assets_tests.made_records import made

FIGURES = {
    "mean_kl": 0.001, "top1_agreement": 1.0, "parity_tokens": 1000, "same_greedy": 1.0, "parity_answers": 8,
    "loss_increase": 0.0, "maximum_kl": 0.002, "minimum_top1": 0.995, "minimum_same_greedy": 0.75,
    "maximum_loss_increase": 0.01, "is_passed": True, "why": "", "weights_fingerprint": "w",
}  # fmt: skip


def _merged(**changes: Any) -> MergedWeights:
    named = {"adapter_id": "a", "base_fingerprint": "b", "dtype": "float16", "probes_fingerprint": "p"}
    return made(MergedWeights, **{**FIGURES, **named, **changes})


def _export(**changes: Any) -> QuantizedWeights:
    return made(QuantizedWeights, **{**FIGURES, **changes})


def test_only_a_hop_that_passed_opens_the_gate() -> None:
    """An export of before the certificate has no figures on record; one that failed says what to do."""
    require_parity(_export(format="q8_0"))
    with pytest.raises(
        GateClosedError, match=r"no parity on record for the q8_0 weights.*fine-tune materialize quantized_weights"
    ):
        require_parity(_export(format="q8_0", is_passed=None))
    with pytest.raises(
        GateClosedError, match=r"no parity on record for the safetensors weights.*fine-tune materialize merged_weights"
    ):
        require_parity(_merged(is_passed=None))
    with pytest.raises(GateClosedError, match=r"no other format takes their place. Choose a finer format"):
        require_parity(_export(format="q4_k_m", is_passed=False, why="Choose a finer format."))


def test_the_certificate_names_every_hop_with_its_figures_and_limits() -> None:
    """It travels with the release: whoever has it needs no table."""
    merged = _merged()
    hops = parity_certificate(
        merged, _export(format="q8_0", fingerprint="q", mean_kl=None, is_passed=False, why="too far")
    )["hops"]
    first, second = hops
    assert (first["from"], first["to"], first["from_fingerprint"], first["to_fingerprint"]) == (
        "adapter", "safetensors", "a", "w",
    )  # fmt: skip
    assert (second["to"], second["from_fingerprint"], second["to_fingerprint"]) == ("q8_0", "w", "q")
    assert first["figures"]["mean_kl"] == 0.001
    assert first["limits"]["minimum_top1"] == 0.995
    assert (second["is_passed"], second["figures"]["mean_kl"], second["why"]) == (False, None, "too far")
    assert len(parity_certificate(merged, None)["hops"]) == 1


def test_other_exports_are_told_as_not_served_and_are_no_part_of_the_chain() -> None:
    """Whoever has the release sees what finer and coarser formats cost; none of them proves what is served."""
    merged = _merged()
    served = _export(format="q8_0", fingerprint="q")
    coarse = _export(format="q4_k_m", fingerprint=None, mean_kl=0.3, is_passed=False, why="too far")
    of_others = _export(format="f16", fingerprint="f", weights_fingerprint="older")
    parity = parity_certificate(merged, served, [served, coarse, of_others])
    assert [hop["to"] for hop in parity["hops"]] == ["safetensors", "q8_0"]
    assert [(hop["to"], hop["figures"]["mean_kl"], hop["is_passed"]) for hop in parity["not_served"]] == [
        ("q4_k_m", 0.3, False)
    ]
    assert missing_proof(parity, "a", "q") == ""
    assert ("safetensors to q4_k_m (not served, did not pass)", "mean_kl", 0.3, 0.002) in shown_hops(parity)
    by_vllm = parity_certificate(merged, None, [served, coarse])
    assert [hop["to"] for hop in by_vllm["not_served"]] == ["q8_0", "q4_k_m"]
    assert missing_proof(by_vllm, "a", "w") == ""
