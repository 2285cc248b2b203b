"""Readable names for fingerprints: "Adapter 3 · SmolLM2 · 28 Nov", "Release 2 · SmolLM2 + adapter 3", "Set 4 · 28 Nov".

Adapters, instruction sets and releases are numbered in the order in which they first appeared in this installation: by the
earliest time of a training record, an instruction set's manifest, a verdict or a release, and then by fingerprint. An imported
release, and its adapter, appear when they are imported. The file `readable_names.json` in the data folder makes the numbers
permanent, because erasures remove sets and rewrite records. If that file is lost, the numbers are assigned again in this order.
"""

import json
import math
import threading
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from fine_tune_assets.core.files import file_lock, write_text
from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.review_items import find_items
from fine_tune_assets.ledger.serving.candidate_records import (
    CandidateRecord,
    count_candidate_records,
    list_candidate_records,
)
from fine_tune_assets.lineage.set_history import MANIFEST, list_set_paths
from fine_tune_assets.lineage.training_runs import list_training_times

Kind = Literal["adapter", "set", "release"]
_SEPARATOR = " · "
_SIZE_OR_VARIANT = frozenset({"instruct", "chat", "base", "it", "hf", "gguf"})


def sentence_case(words: str) -> str:
    """The words of a key, starting with a capital.

    >>> sentence_case("presenting_complaint")
    'Presenting complaint'
    """
    text = words.replace("_", " ").strip()
    return text[:1].upper() + text[1:]


def shorten_model_name(name: str) -> str:
    """The name of a base model without organization, size and variant.

    >>> shorten_model_name("SmolLM2-135M-Instruct"), shorten_model_name("meta-llama/Llama-3.1-8B-Instruct")
    ('SmolLM2', 'Llama 3.1')
    """
    parts = name.rpartition("/")[2].replace("_", "-").split("-")
    end = next((n for n, part in enumerate(parts) if n and _is_size_or_variant(part)), len(parts))
    return " ".join(parts[:end])


def _is_size_or_variant(part: str) -> bool:
    amount = part[:-1].lower().replace("x", "").replace(".", "")
    return part.lower() in _SIZE_OR_VARIANT or (part[-1:].lower() in ("b", "m") and amount.isdecimal())


@dataclass(frozen=True)
class Name:
    """What a page shows for a fingerprint."""

    fingerprint: str
    text: str = ""
    """Empty if nothing is known about it; the page then shows the fingerprint alone."""

    @property
    def short(self) -> str:
        return short(self.fingerprint)

    @property
    def title(self) -> str:
        """The first part of the name, such as "Release 2", or the short fingerprint. For plots."""
        return self.text.partition(_SEPARATOR)[0] or self.short


@dataclass(frozen=True)
class Appearance:
    """The first appearance of an adapter, set or release. Its place in the list is its number."""

    kind: Kind
    fingerprint: str
    """Its first 16 characters, as in folder names."""
    first_seen: datetime
    base: str = ""
    """Fingerprint of an adapter's base model."""


@dataclass(frozen=True)
class KnownNames:
    """Everything that names are made of."""

    appearances: tuple[Appearance, ...] = ()
    base_models: Mapping[str, str] = field(default_factory=dict)
    """Fingerprint → name."""
    records: tuple[CandidateRecord, ...] = ()

    @cached_property
    def numbered(self) -> Mapping[tuple[Kind, str], tuple[int, Appearance]]:
        found: dict[tuple[Kind, str], tuple[int, Appearance]] = {}
        counts = Counter[str]()  # a newer version may have numbered another kind
        for seen in self.appearances:
            counts[seen.kind] += 1
            found[seen.kind, seen.fingerprint] = (counts[seen.kind], seen)
        return found

    @cached_property
    def releases(self) -> Mapping[str, CandidateRecord]:
        return {record.release_id: record for record in self.records if record.release_id is not None}

    @cached_property
    def verdicts(self) -> Mapping[str, CandidateRecord]:
        """The first record of each: a verdict can be recorded again, and an imported one is known from its release."""
        found: dict[str, CandidateRecord] = {}
        for record in self.records:
            found.setdefault(record.verdict_id, record)
        return found


class NameRegistry:
    """Numbers what is new and keeps the names in memory until the ledger or the folders change. Thread-safe."""

    def __init__(self, layout: Layout, ledger: Ledger) -> None:
        self._layout, self.ledger = layout, ledger
        self._lock = threading.Lock()
        self._cached: tuple[Any, KnownNames] | None = None

    def latest(self) -> KnownNames:
        with self._lock:
            stamp = self._read_stamp()
            if self._cached is None or self._cached[0] != stamp:
                self._cached = (stamp, self._read())
            return self._cached[1]

    def at(self, now: datetime) -> "ReadableNames":
        return ReadableNames(self, now)

    def _read_stamp(self) -> Any:
        paths = (self._layout.instruction_sets, self._layout.adapters, self._layout.table("base_models"))
        return (count_candidate_records(self.ledger), *(_modified_at(path) for path in paths))

    def _read(self) -> KnownNames:
        records, path = list_candidate_records(self.ledger), self._layout.readable_names
        known, found = _read_file(path), list(self._list_appearances(records))
        base_models = self._read_base_models(known.base_models, records)
        updated = _add_new(known, found, base_models)
        if updated != known:
            with suppress(OSError), file_lock(path.with_suffix(".lock")):
                updated = _add_new(_read_file(path), found, base_models)  # another desk may have written it since
                _write_file(path, updated)
        return KnownNames(updated.appearances, updated.base_models, tuple(records))

    def _list_appearances(self, records: list[CandidateRecord]) -> Iterator[Appearance]:
        for record in records:
            at = record.recorded_at
            yield Appearance("adapter", short(record.adapter_id), at, record.base_fingerprint)
            yield Appearance("set", short(record.instruction_set_fingerprint), at)
            if record.release_id is not None:
                yield Appearance("release", record.release_id, at)
        bases = {short(record.adapter_id): record.base_fingerprint for record in records}
        for adapter, trained_at in list_training_times(self._layout.adapters):
            yield Appearance("adapter", adapter, trained_at, bases.get(adapter) or self._read_base(adapter))
        for folder in list_set_paths(self._layout.instruction_sets):
            if stored_at := _modified_at(folder / MANIFEST) or _modified_at(folder):
                yield Appearance("set", folder.name, datetime.fromtimestamp(stored_at / 1e9, UTC))

    def _read_base(self, adapter: str) -> str:
        """Fingerprint of the base model in an adapter's configuration; empty if it can't be read."""
        values = _read_json(self._layout.adapters / adapter / "adapter_config.json")
        return str(values.get("base_model_name_or_path", ""))

    def _read_base_models(self, known: Mapping[str, str], records: list[CandidateRecord]) -> dict[str, str]:
        """Names of the current base model, and of unknown ones from the manifests of their releases."""
        found: dict[str, str] = {}
        with suppress(OSError, pa.ArrowInvalid):
            rows = pq.read_table(self._layout.table("base_models"), columns=["fingerprint", "name"]).to_pylist()
            found.update({row["fingerprint"]: row["name"] for row in rows})
        for record in records:
            if record.release_id is not None and record.base_fingerprint not in {**known, **found}:
                manifest = _read_json(self._layout.releases / record.release_id / MANIFEST)
                if name := manifest.get("base_model"):
                    found[record.base_fingerprint] = str(name)
        return found


@dataclass(frozen=True)
class ReadableNames:
    """The names for one request. They are looked up when a page uses the first one."""

    registry: NameRegistry
    now: datetime

    @cached_property
    def _known(self) -> KnownNames:
        return self.registry.latest()

    def adapter(self, fingerprint: str) -> Name:
        found = self._known.numbered.get(("adapter", short(fingerprint)))
        if found is None:
            return Name(fingerprint)
        number, seen = found
        parts = (f"Adapter {number}", self._short_base(seen.base), self._format_day(seen.first_seen))
        return Name(fingerprint, _join(*parts))

    def model(self, fingerprint: str) -> Name:
        """An adapter or a base model."""
        if (name := self._known.base_models.get(fingerprint)) is not None:
            return Name(fingerprint, f"Base model {name}")
        return self.adapter(fingerprint)

    def instruction_set(self, fingerprint: str) -> Name:
        found = self._known.numbered.get(("set", short(fingerprint)))
        return Name(fingerprint, _join(f"Set {found[0]}", self._format_day(found[1].first_seen)) if found else "")

    def release(self, release_id: str) -> Name:
        found = self._known.numbered.get(("release", release_id))
        return Name(release_id, _join(f"Release {found[0]}", self.released_model(release_id)) if found else "")

    def released_model(self, release_id: str) -> str:
        """Base model and adapter of a release, such as "SmolLM2 + adapter 3"; empty for an unknown release."""
        record = self._known.releases.get(release_id)
        if record is None:
            return ""
        number = self._known.numbered["adapter", short(record.adapter_id)][0]
        base = self._short_base(record.base_fingerprint)
        return f"{base} + adapter {number}" if base else f"adapter {number}"

    def verdict(self, verdict_id: str) -> Name:
        record = self._known.verdicts.get(verdict_id)
        if record is None:
            return Name(verdict_id)
        number = self._known.numbered["adapter", short(record.adapter_id)][0]
        return Name(verdict_id, _join(f"Verdict on adapter {number}", self._format_day(record.recorded_at)))

    def find(self, fingerprint: str) -> Name:
        """Whatever the fingerprint belongs to: a release, verdict, base model, adapter or instruction set."""
        ways = (self.release, self.verdict, self.model, self.instruction_set)
        return next((name for way in ways if (name := way(fingerprint)).text), Name(fingerprint))

    @staticmethod
    def item(example_id: str, task: str | None, source: str | None = None) -> Name:
        """A review item, by its task and source. The task of a correction is also its source."""
        return Name(example_id, _join(sentence_case(task or ""), source if source and source != task else ""))

    def examples(self, example_ids: Collection[str]) -> dict[str, Name]:
        """The names of the items with these ids, by id."""
        found = find_items(self.registry.ledger, example_ids)
        known = {item.example_id: self.item(item.example_id, item.task, item.source) for item in found.values()}
        return {example_id: known.get(example_id, Name(example_id)) for example_id in example_ids}

    def correction(self, correction_id: str, received_at: datetime | None) -> Name:
        return Name(correction_id, _join("Correction", self._format_day(received_at) if received_at else ""))

    def by_number(self, kind: Kind, records: Iterable[Any], attribute: str) -> list[Any]:
        """The records, sorted by the number of what their attribute names. Those without a number come last."""
        numbers = {key: number for key, (number, _) in self._known.numbered.items()}
        return sorted(records, key=lambda record: numbers.get((kind, short(getattr(record, attribute))), math.inf))

    def _short_base(self, fingerprint: str) -> str:
        return shorten_model_name(self._known.base_models.get(fingerprint, ""))

    def _format_day(self, at: datetime) -> str:
        """With the year if it is not the current one."""
        return f"{at.day} {at:%b}" if at.year == self.now.year else f"{at.day} {at:%b %Y}"


def _add_new(known: KnownNames, found: Iterable[Appearance], base_models: Mapping[str, str]) -> KnownNames:
    """Append what has no number yet, in order. What is known stays as it is."""
    earliest: dict[tuple[Kind, str], Appearance] = {}
    for seen in sorted(found, key=lambda seen: (seen.first_seen, seen.fingerprint)):
        earliest.setdefault((seen.kind, seen.fingerprint), seen)
    new = (seen for key, seen in earliest.items() if key not in known.numbered)
    return KnownNames((*known.appearances, *new), {**base_models, **known.base_models})


def _join(*parts: str) -> str:
    return _SEPARATOR.join(part for part in parts if part)


def _modified_at(path: Path) -> int:
    """In nanoseconds; 0 if it does not exist."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _read_json(path: Path) -> dict[str, Any]:
    """Empty if the file is missing or damaged."""
    with suppress(OSError, ValueError):
        values = json.loads(path.read_text(encoding="utf-8"))
        return values if isinstance(values, dict) else {}
    return {}


def _read_file(path: Path) -> KnownNames:
    """Empty if the file is missing or damaged."""
    values = _read_json(path)
    with suppress(KeyError, TypeError, ValueError):
        seen = (
            Appearance(**{**row, "first_seen": datetime.fromisoformat(row["first_seen"])})
            for row in values["appearances"]
        )
        return KnownNames(tuple(seen), dict(values["base_models"]))
    return KnownNames()


def _write_file(path: Path, known: KnownNames) -> None:
    rows = [{**vars(seen), "first_seen": seen.first_seen.isoformat()} for seen in known.appearances]
    write_text(path, json.dumps({"appearances": rows, "base_models": dict(known.base_models)}))
