"""Tables of stage 8: merged weights, their formats and releases."""

from typing import Annotated

from fine_tune_assets.tables.columns_in_common import Line
from fine_tune_assets.tables.records import Column, Record


class ParityHop(Record):
    """A hop of the parity certificate."""

    parity_tokens: Annotated[int | None, Column("Tokens that both figures rest on")]
    same_greedy: Annotated[float | None, Column("Share of frozen probes that both answer with the same words")]
    parity_answers: Annotated[int | None, Column("Frozen probes that both answered")]
    loss_increase: Annotated[float | None, Column("Nats per token of held-out answers that it loses more")]
    maximum_kl: Annotated[float | None, Column("Limit of mean_kl when it was made")]
    minimum_top1: Annotated[float | None, Column("Limit of top1_agreement")]
    minimum_same_greedy: Annotated[float | None, Column("Limit of same_greedy")]
    maximum_loss_increase: Annotated[float | None, Column("Limit of loss_increase")]
    is_passed: Annotated[bool | None, Column("Whether all figures are within their limits; absent: nobody measured")]
    why: Annotated[str | None, Column("What is not, and what to do; empty if it passed")]
    probes_file: Annotated[
        str | None, Column("File with its answers to the frozen probes: a server must give them again")
    ]


class MergedWeights(ParityHop):
    """Merged weights, measured against the adapter."""

    weights_fingerprint: Annotated[str, Column("Fingerprint of every file in the folder")]
    folder: Annotated[str, Column("Folder below the data folder")]
    adapter_id: Annotated[str, Column("Adapter that was merged")]
    base_fingerprint: Annotated[str, Column("Base model that it was merged into")]
    verdict_id: Annotated[str, Column("Verdict that allowed it")]
    dtype: Annotated[str, Column("Number format of the weights")]
    bytes: Annotated[int, Column("Size")]
    mean_kl: Annotated[float, Column("Mean KL divergence per token, adapter against merged weights, in nats")]
    top1_agreement: Annotated[float, Column("Share of tokens on which both have the same first choice")]
    route: Annotated[str | None, Column("`whole` in memory with PEFT, or `by_tensor` from file to file")]
    probes_fingerprint: Annotated[str | None, Column("Fingerprint of all that both were asked, as token ids")]


class QuantizedWeights(ParityHop):
    """Weights in another format, measured against the merged ones."""

    format: Annotated[str, Column("GGUF type, such as f16 or q8_0, or kind of compressed Safetensors")]
    file: Annotated[str | None, Column("File or folder below the data folder; absent for one that failed")]
    fingerprint: Annotated[str | None, Column("SHA-256 of the file, or of the folder's files; absent likewise")]
    weights_fingerprint: Annotated[str, Column("Merged weights that it was made from")]
    bytes: Annotated[int | None, Column("Size; absent for one that failed")]
    mean_kl: Annotated[
        float | None, Column("Mean KL divergence per token, merged weights against it, in nats; absent if not asked")
    ]
    top1_agreement: Annotated[float | None, Column("Share of tokens on which both have the same first choice")]
    tensor_types: Annotated[str | None, Column("How many tensors of each type are in a GGUF file")]


class BuiltRelease(Record):
    """A signed release."""

    release_id: Annotated[str, Column("Fingerprint of the release's manifest")]
    line: Line
    folder: Annotated[str, Column("Folder below the data folder")]
    verdict_id: Annotated[str, Column("Verdict that allowed it")]
    adapter_id: Annotated[str, Column("Adapter that is in it")]
    weights_fingerprint: Annotated[str, Column("Merged weights that are in it")]
    instruction_set_fingerprint: Annotated[str, Column("What the model was trained on")]
    prompt_fingerprint: Annotated[
        str, Column("Prompt contract: system prompt, chat template, special tokens, stop ids")
    ]
