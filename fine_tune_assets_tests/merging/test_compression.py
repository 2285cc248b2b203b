"""Handling of llmcompressor's output, without it: a stand-in program writes what transformers 5 writes."""

import json
from pathlib import Path

import pytest

from fine_tune_assets.merging.compression import compress
from fine_tune_assets.merging.gguf import ExportError

WRITES = """#!/bin/sh
mkdir -p "$4"
echo '{"rope_parameters": {"rope_theta": 100000.0, "rope_type": "default"}, "quantization_config": {"format": "float"}}' \\
  > "$4/config.json"
"""


def program(folder: Path, text: str) -> Path:
    path = folder / "python"
    path.write_text(text)
    path.chmod(0o700)
    return path


def test_older_readers_can_read_a_compressed_export(tmp_path: Path) -> None:
    """Given only the new name, transformers 4 silently assumes a rotary base of 10,000."""
    merged, folder = tmp_path / "merged", tmp_path / "fp8"
    merged.mkdir()
    (merged / "tokenizer.json").write_text("{}")
    compress(merged, folder, "fp8_dynamic", program(tmp_path, WRITES))
    config = json.loads((folder / "config.json").read_text())
    assert config["rope_theta"] == 100000.0
    assert config["rope_parameters"]["rope_theta"] == 100000.0
    assert config["quantization_config"] == {"format": "float"}
    assert (folder / "tokenizer.json").read_text() == "{}"


def test_the_programs_last_line_is_the_reason_of_a_failed_export(tmp_path: Path) -> None:
    (tmp_path / "merged").mkdir()
    script = "#!/bin/sh\necho 'rows: 127 of 128' >&2\nexit 1\n"
    with pytest.raises(ExportError, match=r"w4a16.*127 of 128"):
        compress(tmp_path / "merged", tmp_path / "w4a16", "w4a16", program(tmp_path, script))
