"""Makes `visit_pairs.jsonl.gz`, the pairs of dialogue and note that `make bench-drafts` measures on.

    python benchmarks/visit_pairs/make.py SOURCES

SOURCES holds the published data sets in the folders clin_mts_dialog, clin_aci_bench and clin_primock57 (SOURCE.md).
"""

import argparse
import csv
import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
_INTERVAL = re.compile(r'^\s*xmin = ([\d.]+)\s*$\s*^\s*xmax = [\d.]+\s*$\s*^\s*text = "(.*)"\s*$', re.MULTILINE)


def pairs_in(folder: Path) -> Iterator[dict[str, str]]:
    for path in sorted((folder / "clin_mts_dialog").glob("MTS-Dialog-*.csv")):
        for row in _rows(path):
            yield {"corpus": "mts-dialog", "input": row["dialogue"], "output": row["section_text"]}
    for path in sorted((folder / "clin_aci_bench").glob("*.csv")):
        for row in _rows(path):
            if "dialogue" in row:
                yield {"corpus": "aci-bench", "input": row["dialogue"], "output": row["note"]}
    for path in sorted((folder / "clin_primock57" / "notes").glob("*.json")):
        note = json.loads(path.read_text(encoding="utf-8"))["note"]
        said = _dialogue(folder / "clin_primock57" / "transcripts", path.stem)
        if said and note:
            yield {"corpus": "primock57", "input": said, "output": note}


def _dialogue(folder: Path, name: str) -> str:
    """The turns of both sides in the order in which they begin, without the marks of the transcriber."""
    turns = []
    for speaker in ("Doctor", "Patient"):
        for path in folder.glob(f"{name}_{speaker.lower()}*"):
            for begin, text in _INTERVAL.findall(path.read_text(encoding="utf-8")):
                if said := " ".join(re.sub(r"<[^>]*>", " ", text).split()):
                    turns.append((float(begin), f"{speaker}: {said}"))
    return "\n".join(turn for _, turn in sorted(turns))


def _rows(path: Path) -> Iterator[dict[str, str]]:
    csv.field_size_limit(10_000_000)
    with path.open(encoding="utf-8-sig", newline="") as file:
        yield from csv.DictReader(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", type=Path)
    lines = [json.dumps(pair, ensure_ascii=False) for pair in pairs_in(parser.parse_args().sources)]
    # No time and no name in the archive: the same sources make the same file.
    packed = gzip.compress("\n".join(lines).encode() + b"\n", mtime=0)
    (HERE / "visit_pairs.jsonl.gz").write_bytes(packed)


if __name__ == "__main__":
    main()
