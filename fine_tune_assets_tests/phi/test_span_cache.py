"""The same text is not looked at twice, and the file tells nothing to who finds it."""

import hashlib
import os
import stat
from pathlib import Path

from fine_tune_assets.phi.span_cache import KEPT_VERSIONS, SpanCache, clear_span_caches
from fine_tune_assets.phi.spans.spans import Span

SECRET = b"s" * 32
TEXT = "Zyxomarkwort was seen on 03/14/2024."
SPANS = (Span(0, 12, "NAME", "tagger", 0.98), Span(25, 35, "DATE", "numeric_date", 0.9))


def _filled(folder: Path, version: str = "v1", secret: bytes = SECRET) -> SpanCache:
    cache = SpanCache(folder, version, secret)
    cache.put([(cache.key(TEXT, ()), SPANS, {"ID": 2})])
    return cache


def test_what_was_found_in_a_text_comes_back_whole(tmp_path: Path) -> None:
    """Another process, later: the same spans and the same leaks, else a report that was held back would flow on."""
    _filled(tmp_path).close()
    cache = SpanCache(tmp_path, "v1", SECRET)
    key = cache.key(TEXT, ())
    assert cache.get([key, cache.key("other", ())]) == {key: (SPANS, {"ID": 2})}


def test_another_version_another_key_or_other_identifiers_know_nothing_of_it(tmp_path: Path) -> None:
    """A rule that was added for a leak would otherwise never see the text."""
    _filled(tmp_path)
    for version, secret, known in (
        ("v2", SECRET, ()),
        ("v1", b"t" * 32, ()),
        ("v1", SECRET, [{"kind": "name", "value": "Ann"}]),
    ):
        cache = SpanCache(tmp_path, version, secret)
        assert cache.get([cache.key(TEXT, known)]) == {}


def test_the_order_of_what_the_metadata_states_does_not_matter(tmp_path: Path) -> None:
    cache = SpanCache(tmp_path, "v1", SECRET)
    one, two = {"kind": "name", "value": "Ann"}, {"kind": "id", "value": "7"}
    assert cache.key(TEXT, [one, two]) == cache.key(TEXT, [two, one])


def test_neither_a_text_nor_its_plain_hash_is_in_the_file(tmp_path: Path) -> None:
    """Reports are alike: who has a hash can try likely texts until one fits."""
    _filled(tmp_path).close()
    (file,) = [path for path in tmp_path.iterdir() if path.suffix == ".sqlite"]
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"Zyxomarkwort" not in content
    assert b"03/14/2024" not in content
    for algorithm in ("md5", "sha1", "sha256", "sha512", "blake2b"):
        digest = hashlib.new(algorithm, TEXT.encode())
        assert digest.digest() not in content
        assert digest.hexdigest().encode() not in content
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_only_the_last_versions_are_kept(tmp_path: Path) -> None:
    """Each is as large as the corpus is long."""
    for number in range(5):
        _filled(tmp_path, f"v{number}").close()
        os.utime(tmp_path / f"v{number}.sqlite", (number, number))
    _filled(tmp_path, "v5").close()
    assert sorted(p.name for p in tmp_path.glob("*.sqlite")) == [f"v{n}.sqlite" for n in range(6 - KEPT_VERSIONS, 6)]


def test_many_texts_are_asked_for_at_once(tmp_path: Path) -> None:
    """SQLite takes only so many values in one question."""
    cache = SpanCache(tmp_path, "v1", SECRET)
    keys = [cache.key(str(number), ()) for number in range(1203)]
    cache.put((key, SPANS, {}) for key in keys)
    assert cache.get(keys) == dict.fromkeys(keys, (SPANS, {}))


def test_a_cleared_cache_knows_nothing_and_can_be_used_on(tmp_path: Path) -> None:
    """After an erasure; a scrubber may have it open meanwhile."""
    cache = SpanCache(tmp_path, "v1", b"k" * 32)
    key = cache.key("text", [])
    cache.put([(key, [], {})])
    assert clear_span_caches(tmp_path) == 1
    assert cache.get([key]) == {}
    cache.put([(key, [], {})])
    assert set(cache.get([key])) == {key}
    cache.close()
    assert clear_span_caches(tmp_path / "nothing") == 0
