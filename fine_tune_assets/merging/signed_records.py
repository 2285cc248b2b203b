"""Signs the rows of merged and exported weights when they are made, and verifies them before a release is built from them.

The signature covers every other column (fingerprints, parity figures, limits, verdict) and the file with the probes' answers, so
that neither can be replaced between the steps.
"""

import json
from dataclasses import replace
from pathlib import Path

from fine_tune_assets.core.errors import GateClosedError, SettingsError, materialize_hint
from fine_tune_assets.core.fingerprints import fingerprint_file, short
from fine_tune_assets.core.keys import SignatureError, public_key_file, read_public_key, sign, verify_signature
from fine_tune_assets.tables.merging_rows import MergedWeights, QuantizedWeights

KEY_NAME = "weights"
_SIGNATURE = "record_signature"


def sign_merged(merged: MergedWeights, keys: Path, probes: Path | None) -> MergedWeights:
    """Raises SettingsError if the key is unusable."""
    return replace(merged, record_signature=sign(keys, KEY_NAME, _content(merged, probes)).hex())


def sign_export(export: QuantizedWeights, keys: Path, probes: Path | None) -> QuantizedWeights:
    """Raises SettingsError if the key is unusable."""
    return replace(export, record_signature=sign(keys, KEY_NAME, _content(export, probes)).hex())


def require_signed_record(record: MergedWeights | QuantizedWeights, keys: Path, probes: Path | None) -> None:
    """Raises GateClosedError unless this installation made exactly this row and this file of probes."""
    asset = "merged_weights" if isinstance(record, MergedWeights) else "quantized_weights"
    what = f"the record of {asset} {short(_weights_of(record))}"
    try:
        signature = bytes.fromhex(record.record_signature or "")
        key = read_public_key(public_key_file(keys, KEY_NAME))
        verify_signature(key, _content(record, probes), signature, what)
    except (SignatureError, SettingsError, ValueError, OSError) as error:
        raise GateClosedError(
            f"The signature of {what} is missing or does not match: the table or the file of probes was changed after the "
            f"weights were made. {materialize_hint(asset)}"
        ) from error


def _weights_of(record: MergedWeights | QuantizedWeights) -> str:
    return record.weights_fingerprint if isinstance(record, MergedWeights) else record.fingerprint or record.format


def _content(record: MergedWeights | QuantizedWeights, probes: Path | None) -> bytes:
    values = {name: value for name, value in vars(record).items() if name != _SIGNATURE}
    values["probes_sha256"] = None if probes is None else fingerprint_file(probes)
    return json.dumps([type(record).__name__, values], sort_keys=True, ensure_ascii=False).encode()
