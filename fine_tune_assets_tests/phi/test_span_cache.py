"""The cache saves repeated scrubbing, and its file reveals nothing."""

import hashlib
import os
import stat
from pathlib import Path

from fine_tune_assets.phi.span_cache import MAX_VERSIONS, SpanCache, clear_span_caches
from fine_tune_assets.phi.spans.spans import Span

SECRET = b"s" * 32
TEXT = "Zyxomarkwort was seen on 03/14/2024."
SPANS = (Span(0, 12, "NAME", "tagger", 0.98), Span(25, 35, "DATE", "numeric_date", 0.9))


def _filled(folder: Path, version: str = "v1", secret: bytes = SECRET) -> SpanCache:
    cache = SpanCache(folder, version, secret)
    cache.put([(cache.compute_key(TEXT, ()), SPANS, {"ID": 2})])
    return cache


def test_cached_result_is_returned_unchanged(tmp_path: Path) -> None:
    """Another process later gets the same spans and residual PHI; otherwise a withheld report would pass."""
    _filled(tmp_path).close()
    cache = SpanCache(tmp_path, "v1", SECRET)
    key = cache.compute_key(TEXT, ())
    assert cache.get([key, cache.compute_key("other", ())]) == {key: (SPANS, {"ID": 2})}


def test_other_version_key_or_identifiers_miss_the_cache(tmp_path: Path) -> None:
    """Otherwise a rule added because of a leak would never see the text."""
    _filled(tmp_path)
    for version, secret, known in (
        ("v2", SECRET, ()),
        ("v1", b"t" * 32, ()),
        ("v1", SECRET, [{"kind": "name", "value": "Ann"}]),
    ):
        cache = SpanCache(tmp_path, version, secret)
        assert cache.get([cache.compute_key(TEXT, known)]) == {}


def test_order_of_known_identifiers_does_not_matter(tmp_path: Path) -> None:
    cache = SpanCache(tmp_path, "v1", SECRET)
    one, two = {"kind": "name", "value": "Ann"}, {"kind": "id", "value": "7"}
    assert cache.compute_key(TEXT, [one, two]) == cache.compute_key(TEXT, [two, one])


def test_file_contains_neither_a_text_nor_its_plain_hash(tmp_path: Path) -> None:
    """Reports are similar: with a plain hash, an attacker could try likely texts until one matches."""
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


def test_only_recent_versions_are_kept(tmp_path: Path) -> None:
    """Each file grows with the corpus."""
    for number in range(5):
        _filled(tmp_path, f"v{number}").close()
        os.utime(tmp_path / f"v{number}.sqlite", (number, number))
    _filled(tmp_path, "v5").close()
    assert sorted(p.name for p in tmp_path.glob("*.sqlite")) == [f"v{n}.sqlite" for n in range(6 - MAX_VERSIONS, 6)]


def test_many_texts_are_read_at_once(tmp_path: Path) -> None:
    """SQLite limits the number of values in one query."""
    cache = SpanCache(tmp_path, "v1", SECRET)
    keys = [cache.compute_key(str(number), ()) for number in range(1203)]
    cache.put((key, SPANS, {}) for key in keys)
    assert cache.get(keys) == dict.fromkeys(keys, (SPANS, {}))


def test_cleared_cache_is_empty_and_usable(tmp_path: Path) -> None:
    """After an erasure, while a scrubber may have it open."""
    cache = SpanCache(tmp_path, "v1", b"k" * 32)
    key = cache.compute_key("text", [])
    cache.put([(key, [], {})])
    assert clear_span_caches(tmp_path) == 1
    assert cache.get([key]) == {}
    cache.put([(key, [], {})])
    assert set(cache.get([key])) == {key}
    cache.close()
    assert clear_span_caches(tmp_path / "nothing") == 0
