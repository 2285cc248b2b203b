"""The queue: what waits for the viewer, with previews, and nothing of withheld texts."""

import re
from collections.abc import Callable

import pytest

from fine_tune_assets.desk.pages.queue_pages import PREVIEW_CHARACTERS, shorten
from fine_tune_assets_tests.desk.conftest import Site, Visitor
from fine_tune_assets_tests.desk.installation import COMPLAINTS, MISSED, add_correction, drafts_of

Ward = Callable[..., Site]


def listed(visitor: Visitor, path: str = "/queue") -> list[str]:
    return re.findall(r'<a href="/items/([0-9a-f]{16})', visitor.get(path).text)


def previews(page: str) -> list[str]:
    return re.findall(r'class="preview">([^<]*)</span>', page)


def count_waiting(page: str) -> int:
    found = re.search(r"<strong>(\d+)</strong> waiting for you", page)
    assert found is not None
    return int(found[1])


@pytest.fixture
def site(ward: Ward) -> Site:
    made = ward(reviewers=2)
    for name in ("Reviewer One", "Reviewer Two", "Reviewer Three"):
        made.add(name, "reviewer")
    return made


def test_a_row_shows_the_task_the_start_of_the_output_and_the_flags_in_words(site: Site) -> None:
    """A hash says nothing about which draft to open."""
    page = site.signed_in("Reviewer One").get("/queue").text
    assert previews(page) == [draft["output"] for draft in drafts_of(site.settings)]
    assert "<strong>Chief complaint</strong>" in page
    assert '<span class="tag warn">Number not in input</span>' in page


def test_a_preview_is_short(ward: Ward) -> None:
    """Rows of one or two lines keep the list readable."""
    site = ward(count=1)
    site.add("Reviewer One", "reviewer")
    long = " ".join(["Cough\nand fever."] * 40)
    add_correction(site.settings, site.ledger, "ward-a", output=long)
    shown = next(text for text in previews(site.signed_in("Reviewer One").get("/queue").text) if "\u2026" in text)
    assert shown == shorten(long, PREVIEW_CHARACTERS)
    assert (len(shown) <= PREVIEW_CHARACTERS + 1, "\n" in shown) == (True, False)


def test_the_queue_shows_what_waits_for_the_viewer_and_everything_on_request(site: Site) -> None:
    """A reviewer who gave the first review must not see the item among what waits for them."""
    one, two = site.signed_in("Reviewer One"), site.signed_in("Reviewer Two")
    first, second, *others = drafts_of(site.settings)
    one.approve(first)
    one.approve(second)
    two.approve(second)
    others_ids = [draft["example_id"] for draft in others]
    assert listed(one) == others_ids
    assert listed(two) == [*others_ids, first["example_id"]]
    assert [count_waiting(visitor.get("/queue").text) for visitor in (one, two)] == [4, 5]
    assert listed(two, "/queue?state=all") == [*others_ids, first["example_id"], second["example_id"]]
    assert listed(two, "/queue?state=approved") == [second["example_id"]]


def test_a_queue_without_own_work_links_to_everything(site: Site) -> None:
    """An empty default view must not look like an empty installation."""
    one = site.signed_in("Reviewer One")
    for draft in drafts_of(site.settings):
        one.approve(draft)
    page = one.get("/queue").text
    assert (count_waiting(page), "Nothing waits for you" in page) == (0, True)
    assert 'href="/queue?state=all"' in page


def test_withheld_items_show_no_text_and_do_not_count(site: Site) -> None:
    """Not in the list, not in a later part of it, and not in the number of waiting items."""
    one = site.signed_in("Reviewer One")
    marked = next(draft for draft in drafts_of(site.settings) if MISSED in draft["input"])
    path = f"/items/{marked['example_id']}"
    one.post(f"{path}/mark", {"kind": "NAME", "term": MISSED}, page=path)
    for address in ("/queue", "/queue?state=all"):
        page = one.get(address).text
        assert (count_waiting(page), marked["example_id"] in page) == (5, False)
        assert marked["output"] not in previews(page)
        assert len(previews(page)) == 5


def test_a_later_part_of_the_list_has_previews_too(ward: Ward) -> None:
    """They are read with the rows of the part."""
    site = ward(count=60)
    site.add("Reviewer One", "reviewer")
    one = site.signed_in("Reviewer One")
    more = re.search(r'hx-get="([^"]+)"', one.get("/queue").text)
    assert more is not None
    part = one.get(more[1].replace("&amp;", "&"), headers={"hx-request": "true"}).text
    assert (len(previews(part)), set(previews(part)) <= set(COMPLAINTS)) == (10, True)


def test_the_next_item_follows_the_decided_one(site: Site) -> None:
    """A skipped item must not return at once, although a decision moves the decided item to another place."""
    one = site.signed_in("Reviewer One")
    first, second, third, *_ = (draft for draft in drafts_of(site.settings))
    one.get(f"/items/{first['example_id']}")
    one.post(f"/items/{first['example_id']}/skip", {}, page="/account")
    opened = one.get(one.approve(second).headers["location"]).headers["location"]
    assert opened.startswith(f"/items/{third['example_id']}")
