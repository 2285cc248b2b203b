"""Pages show readable names, each with its fingerprint, over HTTP."""

from collections.abc import Callable
from html import unescape

from fine_tune_assets_tests.desk.conftest import Site
from fine_tune_assets_tests.desk.filled_desk import WHO, fill_desk
from fine_tune_assets_tests.desk.installation import SOURCE, drafts_of

ITEM = f"Chief complaint · {SOURCE}"


def test_pages_name_adapters_releases_verdicts_sets_and_items(ward: Callable[..., Site]) -> None:
    """A person who looks for an adapter does not know its fingerprint."""
    site = ward(reviewers=2)
    paths = fill_desk(site)
    visitor = site.signed_in(WHO)
    first, second = drafts_of(site.settings)[:2]
    expected: dict[str, tuple[str, ...]] = {
        "/verdicts": ("Verdict on adapter 54 · ", "Adapter 54 · SmolLM2 · "),
        "/audit": ("Release 14 · SmolLM2 + adapter 54", "Verdict on adapter 54 · "),
        "/impact": ("Release 14 · SmolLM2 + adapter 54",),
        "/disagreements": (ITEM, first["example_id"][:16]),
        "/quarantine": ("Correction · 28 Nov",),
        "/spot-checks": ("Chief complaint",),
        f"/items/{second['example_id']}/history": (
            ITEM,
            "Set 16 · ",
            "Adapter 54 · SmolLM2 · ",
            second["example_id"][:16],
        ),
    }
    for path, parts in expected.items():
        assert path in paths
        shown = unescape(visitor.get(path).text)
        for part in parts:
            assert part in shown, (path, part)
    verdict = unescape(visitor.get(next(path for path in paths if path.startswith("/verdicts/"))).text)
    for part in ("Verdict on adapter 54 · ", "Adapter 54 · SmolLM2 · ", "Base model SmolLM2-135M-Instruct"):
        assert part in verdict, part
    key = second["subject_key"]
    subject = unescape(visitor.post("/subjects", {"subject_key": key}, page="/account").text)
    for part in (ITEM, "Adapter 54 · SmolLM2 · ", "Release 14 · SmolLM2 + adapter 54"):
        assert part in subject, part


def test_tasks_and_outcomes_are_shown_in_sentence_case(ward: Callable[..., Site]) -> None:
    """The keys of recipes and of the ledger are for programs."""
    site = ward(reviewers=2)
    paths = fill_desk(site)
    visitor = site.signed_in(WHO)
    for path in paths:
        if path.startswith("/docs"):
            continue
        shown = visitor.get(path).text
        assert "chief_complaint" not in shown, path
        for key in ("promote", "refuse", "approve", "reject", "passes", "outlier"):
            assert f">{key}</span>" not in shown, (path, key)
