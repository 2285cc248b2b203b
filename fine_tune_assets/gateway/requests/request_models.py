"""Pydantic models of request bodies. The OpenAPI document is built from them.

Rules that depend on the release or the caller's scopes are in `request_parsing`.
"""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

from fine_tune_assets.core.error_kinds import CORRECTION_ERROR_KINDS, RATINGS, SEVERITIES
from fine_tune_assets.gateway.requests.enforceable_schemas import restrict_schema

LIVE_MODEL = "live"
"""The model name that always means the live release."""
EMBEDDING_MODEL = "all-MiniLM-L6-v2"
NO_INDEX = "none"
"""Replaces the fingerprint of the knowledge index if none is live."""
MAX_PASSAGES = 20
"""The most that a recipe can add to a prompt."""
MAX_TOOLS = 64
MAX_MESSAGES = 1000
"""A chat template takes 13 s for 30,000 messages."""


class StrictModel(BaseModel):
    """Refuses unknown fields and does not coerce types: a boolean is not a number, a number is not a string."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True)


class LenientModel(StrictModel):
    """Ignores unknown fields, since clients copy messages with extra fields from answers into the next request."""

    model_config = ConfigDict(extra="ignore")


def _check_rules(*rules: tuple[Any, str]) -> None:
    """Raises ValueError with the message of the first broken rule."""
    for is_met, message in rules:
        if not is_met:
            raise ValueError(message)


def _check_not_blank(text: str) -> str:
    _check_rules((text.strip(), "must not be empty"))
    return text


def _to_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _unwrap_single(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _join_parts(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    return "".join(TextPart.model_validate(part).text for part in value)


Text = Annotated[str, Field(min_length=1)]
NotBlank = Annotated[str, AfterValidator(_check_not_blank), WithJsonSchema({"type": "string", "pattern": r"\S"})]
ReleaseId = Annotated[NotBlank, Field(max_length=200)]
Name = Annotated[str, Field(pattern="^[A-Za-z0-9_-]{1,64}$")]
CallId = Annotated[str, Field(pattern=r"^[\w.:-]{1,200}$")]
StopSequences = Annotated[list[Text], Field(fail_fast=True, max_length=4)]
Inputs = Annotated[list[NotBlank], Field(fail_fast=True, min_length=1, max_length=256)]
Prompts = Annotated[list[Text], Field(min_length=1, max_length=1)]
PassageIds = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=64)]],
    Field(fail_fast=True, max_length=MAX_PASSAGES, json_schema_extra={"uniqueItems": True}),
]
ErrorKind = Literal[CORRECTION_ERROR_KINDS]  # type: ignore[valid-type]
Severity = Literal[SEVERITIES]  # type: ignore[valid-type]
MaxTokens = Annotated[int, Field(ge=1, le=1_000_000)]
Ignored = Annotated[Any, WithJsonSchema({"type": "string"})]
EnforcedSchema = Annotated[dict[str, Any], AfterValidator(restrict_schema)]
ToolParameters = Annotated[dict[str, Any], AfterValidator(lambda given: restrict_schema(given or {"type": "object"}))]


class StreamOptions(StrictModel):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class GenerationOptions(StrictModel):
    """The fields that chat and completions share."""

    model: str = LIVE_MODEL
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    max_tokens: MaxTokens | None = None
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    seed: int | None = Field(None, ge=0, le=2**32 - 1)
    stop: Annotated[StopSequences, BeforeValidator(_to_list, json_schema_input_type=Text | StopSequences)] | None = None
    n: Literal[1] | None = None
    user: Ignored = None

    @property
    def has_usage(self) -> bool:
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    @model_validator(mode="after")
    def _check_stream_options(self) -> Self:
        _check_rules((self.stream or self.stream_options is None, "stream_options needs stream"))
        return self


class TextPart(LenientModel):
    type: Literal["text"]
    text: str


Content = Annotated[str, BeforeValidator(_join_parts, json_schema_input_type=str | list[TextPart])]


class TextMessage(LenientModel):
    role: Literal["user", "system", "developer"]
    content: Content


class FunctionCall(LenientModel):
    name: Name
    arguments: str


class ToolCall(LenientModel):
    id: CallId
    type: Literal["function"]
    function: FunctionCall


class AssistantMessage(LenientModel):
    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["content"]}, {"required": ["tool_calls"]}]})

    role: Literal["assistant"]
    content: Content | None = None
    tool_calls: Annotated[list[ToolCall], Field(fail_fast=True, max_length=MAX_TOOLS)] | None = None

    @model_validator(mode="after")
    def _check_not_empty(self) -> Self:
        _check_rules((self.content is not None or self.tool_calls, "needs content or tool_calls"))
        return self


class ToolMessage(LenientModel):
    role: Literal["tool"]
    tool_call_id: CallId
    content: Content


Message = Annotated[TextMessage | AssistantMessage | ToolMessage, Field(discriminator="role")]


class FunctionDefinition(StrictModel):
    name: Name
    description: str | None = None
    parameters: ToolParameters | None = None
    strict: bool | None = None


class Tool(LenientModel):
    type: Literal["function"]
    function: FunctionDefinition


class FunctionChoice(LenientModel):
    name: str


class ToolChoice(LenientModel):
    type: Literal["function"]
    function: FunctionChoice


class JsonSchemaFormat(LenientModel):
    name: Name
    schema_: EnforcedSchema = Field(alias="schema")


class ResponseFormat(StrictModel):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None

    @model_validator(mode="after")
    def _check_schema(self) -> Self:
        _check_rules(
            (self.type != "json_schema" or self.json_schema, "the type json_schema needs json_schema"),
            (self.type != "text" or not self.json_schema, "the type text takes no json_schema"),
        )
        return self


class ChatRequest(GenerationOptions):
    raw: ClassVar[None] = None
    """Only completions can be raw."""
    messages: Annotated[list[Message], Field(fail_fast=True, min_length=1, max_length=MAX_MESSAGES)]
    max_completion_tokens: MaxTokens | None = None
    tools: Annotated[list[Tool], Field(fail_fast=True, min_length=1, max_length=MAX_TOOLS)] | None = None
    tool_choice: Literal["auto", "none", "required"] | ToolChoice | None = None
    response_format: ResponseFormat | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    knowledge: bool | None = None

    @property
    def answer_format(self) -> ResponseFormat | None:
        """The requested format; None for plain text."""
        return self.response_format if self.response_format and self.response_format.type != "text" else None

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        choice, names = self.tool_choice, [tool.function.name for tool in self.tools or ()]
        named = choice.function.name if isinstance(choice, ToolChoice) else None
        _check_rules(
            (self.tools or choice in (None, "none", "auto"), "tool_choice needs tools"),
            (named is None or named in names, "tool_choice must name one of the tools"),
            (len(set(names)) == len(names), "two tools have the same name"),
            (
                not self.tools or choice == "none" or not self.answer_format,
                "tools and response_format exclude each other",
            ),
            (self.logprobs or not self.top_logprobs, "top_logprobs needs logprobs"),
            (
                not self.knowledge or not (self.tools or self.response_format),
                "knowledge can't be combined with tools or response_format",
            ),
        )
        return self


class CompletionRequest(GenerationOptions):
    prompt: Annotated[Text, BeforeValidator(_unwrap_single, json_schema_input_type=Text | Prompts)]
    raw: bool | None = None
    best_of: Literal[1] | None = None
    echo: Literal[False] | None = None


GenerationRequest = ChatRequest | CompletionRequest


class EmbeddingRequest(StrictModel):
    model: str = Field(EMBEDDING_MODEL, json_schema_extra={"const": EMBEDDING_MODEL})
    input: Annotated[Inputs, BeforeValidator(_to_list, json_schema_input_type=NotBlank | Inputs)]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Literal[384] | None = None
    user: Ignored = None


class FeedbackRequest(StrictModel):
    """A rating without text."""

    release_id: ReleaseId
    rating: Literal[RATINGS]  # type: ignore[valid-type]
    error_kind: ErrorKind | None = None
    severity: Severity | None = None


class CorrectionRequest(StrictModel):
    """A better answer.

    For an answer with citations, send its `x-knowledge-index` header as `knowledge_index` and the `passage_id` of each citation
    as `passages`.
    """

    model_config = ConfigDict(json_schema_extra={"dependentRequired": {"passages": ["knowledge_index"]}})

    release_id: ReleaseId
    instruction: NotBlank
    input: str | None = ""
    answer: str
    corrected_answer: NotBlank
    error_kind: ErrorKind | None = None
    severity: Severity | None = None
    seconds_spent: int | None = Field(None, ge=0, le=86_400)
    knowledge_index: str | None = Field(None, pattern=f"^([0-9a-f]{{64}}|{NO_INDEX})$")
    passages: PassageIds | None = None

    @model_validator(mode="after")
    def _check_passages(self) -> Self:
        passages = self.passages or []
        _check_rules(
            (len(set(passages)) == len(passages), "passages must name each passage once"),
            (not passages or self.knowledge_index not in (None, NO_INDEX), "passages need knowledge_index"),
        )
        return self
