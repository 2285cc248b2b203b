"""Reads general instruction data, which is mixed in against forgetting.

Each subfolder holds `source.yaml` (source, licence, format) and JSONL files. Rows that are empty, too long or offensive are
skipped.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.fingerprints import fingerprint_json, short
from fine_tune_assets.core.strict_parsing import load_values
from fine_tune_assets.tables.instruction_rows import GeneralExample
from fine_tune_assets.tables.record_classes import table_from_records

SOURCE_FILE = "source.yaml"
MAX_CHARACTERS = 2000
"""Limit for instruction plus input, and for the output; about what fits into a small model's context."""
_KEYS = {"source", "licence", "format"}

# People wrote both data sets, and a few prompts are crude. A word list is enough for a sample.
_OFFENSIVE = re.compile(
    r"\b(fuck\w*|shit\w*|bitch\w*|asshole\w*|cunts?|porn\w*|sluts?|whores?|sex(?:ual(?:ly)?|y)?|masturbat\w*|"
    r"rap(?:e[ds]?|ist)|kill(?:s|ed|er|ing)?|murder\w*|suicid\w*|bombs?|bombing)\b",
    re.IGNORECASE,
)
_DOLLY_PROMPT = re.compile(
    r"### Instruction:\n(?P<instruction>.*?)(?:\n\n### Input:\n(?P<input>.*?))?\n\n### Response:\s*\Z", re.DOTALL
)

Content = tuple[str, str, str, str]
"""Instruction, input, output and kind; the kind is empty if the source has none."""


class GeneralDataError(FineTuneError):
    """A folder of general data is invalid."""


@dataclass(frozen=True)
class GeneralData:
    table: pa.Table
    skipped: dict[str, dict[str, int]]
    """Source → reason → number of skipped rows."""


def read_general_data(folder: Path) -> GeneralData:
    """Build `general_examples` from every subfolder, sorted by example id. Raises GeneralDataError."""
    if not folder.is_dir():
        raise GeneralDataError(
            f"The folder {folder.name} with general data is missing. Add it, or set general_fraction to 0 in the recipe."
        )
    examples: dict[str, GeneralExample] = {}
    skipped: dict[str, dict[str, int]] = {}
    for source_folder in sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != "."):
        facts = _read_facts(source_folder)
        counts: Counter[str] = Counter()
        for example in _examples_of(source_folder, facts):
            reason = _skip_reason(example) or ("repeated" if example.example_id in examples else None)
            if reason is None:
                examples[example.example_id] = example
            else:
                counts[reason] += 1
        skipped[facts["source"]] = dict(sorted(counts.items()))
    return GeneralData(table_from_records(GeneralExample, (examples[key] for key in sorted(examples))), skipped)


def _read_facts(folder: Path) -> dict[str, str]:
    where = f"{folder.name}/{SOURCE_FILE}"
    try:
        facts = load_values((folder / SOURCE_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise GeneralDataError(f"{where} is missing. Add it with the keys {', '.join(sorted(_KEYS))}.") from error
    except (ValueError, yaml.YAMLError) as error:
        raise GeneralDataError(f"{where} is not valid UTF-8 YAML, or repeats a key.") from error
    if not isinstance(facts, dict) or set(facts) != _KEYS or not all(isinstance(v, str) and v for v in facts.values()):
        raise GeneralDataError(f"{where} must have exactly the keys {', '.join(sorted(_KEYS))}, each with a text.")
    if facts["format"] not in _FORMATS:
        raise GeneralDataError(f"{where}: unknown format {facts['format']}. Known: {', '.join(sorted(_FORMATS))}.")
    return facts


def _examples_of(folder: Path, facts: Mapping[str, str]) -> Iterator[GeneralExample]:
    files = sorted(folder.glob("*.jsonl"))
    if not files:
        raise GeneralDataError(f"{folder.name} has no .jsonl file.")
    for path in files:
        for number, record in _read_lines(path):
            try:
                contents = list(_FORMATS[facts["format"]](record))
            except (KeyError, TypeError, AttributeError, ValueError) as error:
                raise GeneralDataError(
                    f"{folder.name}/{path.name} line {number} is not in the format {facts['format']}."
                ) from error
            yield from (_example(content, facts) for content in contents)


def _read_lines(path: Path) -> Iterator[tuple[int, Any]]:
    number = 0
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, json.loads(line)
    except json.JSONDecodeError as error:
        raise GeneralDataError(f"{path.parent.name}/{path.name} line {number} is not JSON.") from error
    except UnicodeDecodeError as error:
        raise GeneralDataError(f"{path.parent.name}/{path.name} is not UTF-8 after line {number}.") from error


def _dolly_hhrlhf(record: Any) -> Iterator[Content]:
    """Parse records whose `prompt` wraps the instruction in an Alpaca template."""
    match = _DOLLY_PROMPT.search(record["prompt"])
    if match is None:
        raise ValueError("no Alpaca template")
    kind = str(record.get("category") or "")
    yield match["instruction"].strip(), (match["input"] or "").strip(), record["response"].strip(), kind


def _self_instruct(record: Any) -> Iterator[Content]:
    # `name` is unique per task and thus not a kind.
    kind = (
        "" if "is_classification" not in record else "classification" if record["is_classification"] else "generation"
    )
    for instance in record["instances"]:
        yield record["instruction"].strip(), instance["input"].strip(), instance["output"].strip(), kind


_FORMATS: dict[str, Callable[[Any], Iterator[Content]]] = {
    "dolly_hhrlhf": _dolly_hhrlhf,
    "self_instruct": _self_instruct,
}


def _example(content: Content, facts: Mapping[str, str]) -> GeneralExample:
    instruction, input_text, output, kind = content
    fingerprint = fingerprint_json({"instruction": instruction, "input": input_text, "output": output})
    return GeneralExample(
        example_id=short(fingerprint_json([facts["source"], fingerprint])),
        source=facts["source"],
        licence=facts["licence"],
        kind=kind or facts["source"],
        instruction=instruction,
        input=input_text,
        output=output,
        fingerprint=fingerprint,
    )


def _skip_reason(example: GeneralExample) -> str | None:
    """Why the example is skipped, or None."""
    if not example.instruction or not example.output:
        return "empty"
    question = example.instruction + example.input
    if len(question) > MAX_CHARACTERS or len(example.output) > MAX_CHARACTERS:
        return "too long"
    return "offensive" if _OFFENSIVE.search(f"{example.instruction}\n{example.input}\n{example.output}") else None
