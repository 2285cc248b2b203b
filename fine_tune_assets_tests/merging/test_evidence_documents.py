"""Certificates of a release: equal evidence gives equal bytes, and missing evidence is named."""

import json
from dataclasses import replace

from fine_tune_assets.merging.certificates import certificate_json, parity_certificate, qualification_certificate
from fine_tune_assets.tables.judging_rows import JudgeAgreement
from fine_tune_assets_tests.merging.whole_release import EVIDENCE, EXPORT, MERGED
from fine_tune_assets_tests.record_factory import made


def test_certificates_contain_no_path_and_null_instead_of_nan() -> None:
    """Equal evidence must give equal bytes on every machine."""
    text = certificate_json(parity_certificate(replace(MERGED, mean_kl=float("nan")), EXPORT))
    assert "weights/" not in text
    merged, export = json.loads(text)["hops"]
    assert (merged["metrics"]["mean_kl"], merged["limits"]["minimum_top1"], merged["is_passed"]) == (None, None, True)
    assert (export["to_fingerprint"], export["limits"]["minimum_top1"], export["is_passed"]) == ("e" * 64, 0.95, True)
    assert len(parity_certificate(MERGED, None)["hops"]) == 1


def test_a_qualification_with_replaced_measurements_names_the_reason() -> None:
    certificate = qualification_certificate(EVIDENCE, None)
    assert certificate["measures"] is None
    assert "judge_agreement" in certificate["missing_reason"]
    own, other = (made(JudgeAgreement, judge_version=v, spearman=s) for v, s in (("j1", 0.61), ("j0", 0.9)))
    assert qualification_certificate(EVIDENCE, [own, other])["measures"] == [own.to_row()]
