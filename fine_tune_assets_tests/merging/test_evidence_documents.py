"""What a release says of its evidence: equal evidence is equal bytes, and what is missing is called so."""

import json
from dataclasses import replace

from fine_tune_assets.merging.certificates import certificate_json, judge_licence, parity_certificate
from fine_tune_assets.tables.judging import JudgeAgreement
from fine_tune_assets_tests.made_records import made
from fine_tune_assets_tests.merging.released import EVIDENCE, EXPORT, MERGED


def test_certificates_hold_no_path_and_null_for_what_is_no_number() -> None:
    """Equal evidence is equal bytes on every machine."""
    text = certificate_json(parity_certificate(replace(MERGED, mean_kl=float("nan")), EXPORT))
    assert "weights/" not in text
    merged, export = json.loads(text)["hops"]
    assert (merged["figures"]["mean_kl"], merged["limits"]["minimum_top1"], merged["is_passed"]) == (None, None, True)
    assert (export["to_fingerprint"], export["limits"]["minimum_top1"], export["is_passed"]) == ("e" * 64, 0.95, True)
    assert len(parity_certificate(MERGED, None)["hops"]) == 1


def test_a_licence_whose_measures_were_replaced_says_so() -> None:
    found = judge_licence(EVIDENCE, None)
    assert found["measures"] is None
    assert "measured again since" in found["why_not"]
    own, other = (made(JudgeAgreement, judge_version=v, spearman=s) for v, s in (("j1", 0.61), ("j0", 0.9)))
    assert judge_licence(EVIDENCE, [own, other])["measures"] == [own.as_row()]
