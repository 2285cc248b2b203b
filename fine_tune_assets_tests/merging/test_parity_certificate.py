"""A hop without a measurement is closed, and the certificate names every hop. Loads no model."""

from typing import Any

import pytest

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.merging.certificates import find_parity_gap, hop_rows, parity_certificate, require_parity
from fine_tune_assets.tables.merging_rows import MergedWeights, QuantizedWeights
from fine_tune_assets_tests.record_factory import made

FIGURES = {
    "mean_kl": 0.001, "top1_agreement": 1.0, "parity_tokens": 1000, "greedy_agreement": 1.0, "parity_answers": 8,
    "loss_increase": 0.0, "maximum_kl": 0.002, "minimum_top1": 0.995, "minimum_greedy_agreement": 0.75,
    "maximum_loss_increase": 0.01, "is_passed": True, "failure_reason": "", "weights_fingerprint": "w",
}  # fmt: skip


def _merged(**changes: Any) -> MergedWeights:
    named = {"adapter_id": "a", "base_fingerprint": "b", "dtype": "float16", "probes_fingerprint": "p"}
    return made(MergedWeights, **{**FIGURES, **named, **changes})


def _export(**changes: Any) -> QuantizedWeights:
    return made(QuantizedWeights, **{**FIGURES, **changes})


def test_only_a_hop_that_passed_opens_the_gate() -> None:
    """Older exports have no stored metrics; a failed one names the remedy."""
    require_parity(_export(format="q8_0"))
    with pytest.raises(GateClosedError, match=r"q8_0.*fine-tune materialize quantized_weights"):
        require_parity(_export(format="q8_0", is_passed=None))
    with pytest.raises(GateClosedError, match=r"safetensors.*fine-tune materialize merged_weights"):
        require_parity(_merged(is_passed=None))
    with pytest.raises(GateClosedError, match=r"q4_k_m.*Choose a finer format"):
        require_parity(_export(format="q4_k_m", is_passed=False, failure_reason="Choose a finer format."))


def test_the_certificate_names_every_hop_with_metrics_and_limits() -> None:
    """It travels with the release, so its reader needs no table."""
    merged = _merged()
    hops = parity_certificate(
        merged, _export(format="q8_0", fingerprint="q", mean_kl=None, is_passed=False, failure_reason="too far")
    )["hops"]
    first, second = hops
    assert (first["from"], first["to"], first["from_fingerprint"], first["to_fingerprint"]) == (
        "adapter", "safetensors", "a", "w",
    )  # fmt: skip
    assert (second["to"], second["from_fingerprint"], second["to_fingerprint"]) == ("q8_0", "w", "q")
    assert first["metrics"]["mean_kl"] == 0.001
    assert first["limits"]["minimum_top1"] == 0.995
    assert (second["is_passed"], second["metrics"]["mean_kl"], second["reason"]) == (False, None, "too far")
    assert len(parity_certificate(merged, None)["hops"]) == 1


def test_other_exports_are_listed_as_not_served_outside_the_chain() -> None:
    """They show what finer and coarser formats cost; none of them proves the served weights."""
    merged = _merged()
    served = _export(format="q8_0", fingerprint="q")
    coarse = _export(format="q4_k_m", fingerprint=None, mean_kl=0.3, is_passed=False, failure_reason="too far")
    of_others = _export(format="f16", fingerprint="f", weights_fingerprint="older")
    parity = parity_certificate(merged, served, [served, coarse, of_others])
    assert [hop["to"] for hop in parity["hops"]] == ["safetensors", "q8_0"]
    assert [(hop["to"], hop["metrics"]["mean_kl"], hop["is_passed"]) for hop in parity["other_exports"]] == [
        ("q4_k_m", 0.3, False)
    ]
    assert find_parity_gap(parity, "a", "q") == ""
    assert ("safetensors to q4_k_m (not served, did not pass)", "mean_kl", 0.3, 0.002) in hop_rows(parity)
    by_vllm = parity_certificate(merged, None, [served, coarse])
    assert [hop["to"] for hop in by_vllm["other_exports"]] == ["q8_0", "q4_k_m"]
    assert find_parity_gap(by_vllm, "a", "w") == ""
