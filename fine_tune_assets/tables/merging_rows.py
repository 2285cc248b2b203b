"""Tables of stage 8: merged weights, exports and releases."""

from typing import Annotated

from fine_tune_assets.tables.common_columns import ProductLine
from fine_tune_assets.tables.record_classes import Column, Record


class ParityColumns(Record):
    """Parity measurements between two forms of a model."""

    parity_tokens: Annotated[int | None, Column("Tokens behind mean_kl and top1_agreement")]
    greedy_agreement: Annotated[float | None, Column("Share of probes that both answer identically")]
    parity_answers: Annotated[int | None, Column("Parity prompts that both answered")]
    loss_increase: Annotated[float | None, Column("Loss increase on held-out answers, nats per token")]
    maximum_kl: Annotated[float | None, Column("Limit of mean_kl at the time")]
    minimum_top1: Annotated[float | None, Column("Limit of top1_agreement")]
    minimum_greedy_agreement: Annotated[float | None, Column("Limit of greedy_agreement")]
    maximum_loss_increase: Annotated[float | None, Column("Limit of loss_increase")]
    is_passed: Annotated[bool | None, Column("Whether all metrics are within limits; absent if not measured")]
    failure_reason: Annotated[str | None, Column("Failed metrics and their remedy; empty if passed")]
    probes_file: Annotated[str | None, Column("File with the answers to probes, which an engine must reproduce")]
    record_signature: Annotated[str | None, Column("Signature of the other columns and of the file of probes")] = None


class MergedWeights(ParityColumns):
    """Merged weights, compared with the adapter."""

    weights_fingerprint: Annotated[str, Column("Fingerprint of every file in the folder")]
    folder: Annotated[str, Column("Folder, relative to the data folder")]
    adapter_id: Annotated[str, Column("Merged adapter")]
    base_fingerprint: Annotated[str, Column("Base model of the merge")]
    verdict_id: Annotated[str, Column("Verdict that allowed it")]
    dtype: Annotated[str, Column("Number format of the weights")]
    size_bytes: Annotated[int, Column("Size")]
    mean_kl: Annotated[float, Column("Mean KL divergence of merged weights from adapter, nats per token")]
    top1_agreement: Annotated[float, Column("Share of tokens with the same top choice")]
    merge_method: Annotated[str | None, Column("`in_memory` with PEFT, or `streaming` from file to file")]
    probes_fingerprint: Annotated[str | None, Column("Fingerprint of all prompts, as token ids")]


class QuantizedWeights(ParityColumns):
    """Weights in another format, compared with the merged weights."""

    format: Annotated[str, Column("GGUF type, such as f16 or q8_0, or Safetensors compression")]
    path: Annotated[str | None, Column("Path relative to the data folder; absent if the export failed")]
    fingerprint: Annotated[str | None, Column("SHA-256 of the file or folder; absent if the export failed")]
    weights_fingerprint: Annotated[str, Column("Merged weights that it was exported from")]
    size_bytes: Annotated[int | None, Column("Size; absent if the export failed")]
    mean_kl: Annotated[
        float | None, Column("Mean KL divergence from merged weights, nats per token; absent if unmeasured")
    ]
    top1_agreement: Annotated[float | None, Column("Share of tokens with the same top choice")]
    tensor_types: Annotated[str | None, Column("Number of tensors by type in a GGUF file")]


class BuiltRelease(Record):
    """A signed release."""

    release_id: Annotated[str, Column("Fingerprint of the release's manifest")]
    line: ProductLine
    folder: Annotated[str, Column("Folder, relative to the data folder")]
    verdict_id: Annotated[str, Column("Verdict that allowed it")]
    adapter_id: Annotated[str, Column("Adapter in the release")]
    weights_fingerprint: Annotated[str, Column("Merged weights in the release")]
    instruction_set_fingerprint: Annotated[str, Column("Instruction set that the model was trained on")]
    prompt_fingerprint: Annotated[
        str, Column("Prompt contract: system prompt, chat template, special tokens, stop ids")
    ]
