"""The bodies of requests as pydantic models: every field once, with its limits. The OpenAPI document is made from them.

What depends on the release or on the caller's scopes is checked in `requests`.
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

from fine_tune_assets.core.error_kinds import KINDS_OF_CORRECTION, RATINGS, SEVERITIES
from fine_tune_assets.gateway.requests.schemas import enforced_schema

LIVE = "live"
"""The model name that always means the live release."""
EMBEDDING_MODEL = "all-MiniLM-L6-v2"
NO_INDEX = "none"
"""Replaces the fingerprint of the knowledge index if none is live."""
MOST_PASSAGES = 20
"""As many as a recipe may put before a question."""
MOST_TOOLS = 64


class Closed(BaseModel):
    """Refuses unknown fields and converts nothing: a boolean is not a number, and a number is not a text."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True)


class Open(Closed):
    """Ignores unknown fields, such as those that clients copy from an answer into the next request."""

    model_config = ConfigDict(extra="ignore")


def _require(*rules: tuple[Any, str]) -> None:
    """Raises ValueError with the message of the first rule that does not hold."""
    for holds, message in rules:
        if not holds:
            raise ValueError(message)


def _not_blank(text: str) -> str:
    _require((text.strip(), "must not be empty"))
    return text


def _in_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _only_one(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _joined(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    return "".join(TextPart.model_validate(part).text for part in value)


Text = Annotated[str, Field(min_length=1)]
NotBlank = Annotated[str, AfterValidator(_not_blank), WithJsonSchema({"type": "string", "pattern": r"\S"})]
Name = Annotated[str, Field(pattern="^[A-Za-z0-9_-]{1,64}$")]
CallId = Annotated[str, Field(pattern=r"^[\w.:-]{1,200}$")]
Stops = Annotated[list[Text], Field(fail_fast=True, max_length=4)]
Inputs = Annotated[list[NotBlank], Field(fail_fast=True, min_length=1, max_length=256)]
Prompts = Annotated[list[Text], Field(min_length=1, max_length=1)]
PassageIds = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=64)]],
    Field(fail_fast=True, max_length=MOST_PASSAGES, json_schema_extra={"uniqueItems": True}),
]
ErrorKind = Literal[KINDS_OF_CORRECTION]  # type: ignore[valid-type]
Severity = Literal[SEVERITIES]  # type: ignore[valid-type]
MaxTokens = Annotated[int, Field(ge=1, le=1_000_000)]
Unused = Annotated[Any, WithJsonSchema({"type": "string"})]
EnforcedSchema = Annotated[dict[str, Any], AfterValidator(enforced_schema)]
Parameters = Annotated[dict[str, Any], AfterValidator(lambda given: enforced_schema(given or {"type": "object"}))]


class StreamOptions(Closed):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Sampling(Closed):
    """The fields that chat and completions share."""

    model: str = LIVE
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    max_tokens: MaxTokens | None = None
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    seed: int | None = Field(None, ge=0, le=2**32 - 1)
    stop: Annotated[Stops, BeforeValidator(_in_list, json_schema_input_type=Text | Stops)] | None = None
    n: Literal[1] | None = None
    user: Unused = None

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    @model_validator(mode="after")
    def _streams(self) -> Self:
        _require((self.stream or self.stream_options is None, "stream_options needs stream"))
        return self


class TextPart(Open):
    type: Literal["text"]
    text: str


Content = Annotated[str, BeforeValidator(_joined, json_schema_input_type=str | list[TextPart])]


class TextMessage(Open):
    role: Literal["user", "system", "developer"]
    content: Content


class CalledFunction(Open):
    name: Name
    arguments: str


class ToolCall(Open):
    id: CallId
    type: Literal["function"]
    function: CalledFunction


class AssistantMessage(Open):
    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["content"]}, {"required": ["tool_calls"]}]})

    role: Literal["assistant"]
    content: Content | None = None
    tool_calls: Annotated[list[ToolCall], Field(fail_fast=True, max_length=MOST_TOOLS)] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        _require((self.content is not None or self.tool_calls, "needs content or tool_calls"))
        return self


class ToolMessage(Open):
    role: Literal["tool"]
    tool_call_id: CallId
    content: Content


Message = Annotated[TextMessage | AssistantMessage | ToolMessage, Field(discriminator="role")]


class Function(Closed):
    name: Name
    description: str | None = None
    parameters: Parameters | None = None
    strict: bool | None = None


class Tool(Open):
    type: Literal["function"]
    function: Function


class NamedFunction(Open):
    name: str


class NamedTool(Open):
    type: Literal["function"]
    function: NamedFunction


class NamedSchema(Open):
    name: Name
    schema_: EnforcedSchema = Field(alias="schema")


class ResponseFormat(Closed):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None

    @model_validator(mode="after")
    def _has_its_schema(self) -> Self:
        _require(
            (self.type != "json_schema" or self.json_schema, "the type json_schema needs json_schema"),
            (self.type != "text" or not self.json_schema, "the type text takes no json_schema"),
        )
        return self


class ChatRequest(Sampling):
    raw: ClassVar[None] = None
    """Only completions can be."""
    messages: Annotated[list[Message], Field(fail_fast=True, min_length=1)]
    max_completion_tokens: MaxTokens | None = None
    tools: Annotated[list[Tool], Field(fail_fast=True, min_length=1, max_length=MOST_TOOLS)] | None = None
    tool_choice: Literal["auto", "none", "required"] | NamedTool | None = None
    response_format: ResponseFormat | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    knowledge: bool | None = None

    @property
    def form(self) -> ResponseFormat | None:
        """How the answer must be formed; None if it is plain text."""
        return self.response_format if self.response_format and self.response_format.type != "text" else None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        choice, names = self.tool_choice, [tool.function.name for tool in self.tools or ()]
        named = choice.function.name if isinstance(choice, NamedTool) else None
        _require(
            (self.tools or choice in (None, "none", "auto"), "tool_choice needs tools"),
            (named is None or named in names, "tool_choice must name one of the tools"),
            (len(set(names)) == len(names), "two tools have the same name"),
            (not self.tools or choice == "none" or not self.form, "tools and response_format exclude each other"),
            (self.logprobs or not self.top_logprobs, "top_logprobs needs logprobs"),
            (
                not self.knowledge or not (self.tools or self.response_format),
                "knowledge can't be combined with tools or response_format",
            ),
        )
        return self


class CompletionRequest(Sampling):
    prompt: Annotated[Text, BeforeValidator(_only_one, json_schema_input_type=Text | Prompts)]
    raw: bool | None = None
    best_of: Literal[1] | None = None
    echo: Literal[False] | None = None


Question = ChatRequest | CompletionRequest


class EmbeddingRequest(Closed):
    model: str = Field(EMBEDDING_MODEL, json_schema_extra={"const": EMBEDDING_MODEL})
    input: Annotated[Inputs, BeforeValidator(_in_list, json_schema_input_type=NotBlank | Inputs)]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Literal[384] | None = None
    user: Unused = None


class FeedbackRequest(Closed):
    """A thumb. It comes without texts."""

    release_id: NotBlank
    rating: Literal[RATINGS]  # type: ignore[valid-type]
    error_kind: ErrorKind | None = None
    severity: Severity | None = None


class CorrectionRequest(Closed):
    """A better answer. After an answer from documents it also has that answer's `x-knowledge-index` as `knowledge_index`, and the
    `passage_id` of each of its citations as `passages`."""

    model_config = ConfigDict(json_schema_extra={"dependentRequired": {"passages": ["knowledge_index"]}})

    release_id: NotBlank
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
    def _passages_come_from_an_index(self) -> Self:
        passages = self.passages or []
        _require(
            (len(set(passages)) == len(passages), "passages must name each passage once"),
            (not passages or self.knowledge_index not in (None, NO_INDEX), "passages need knowledge_index"),
        )
        return self
