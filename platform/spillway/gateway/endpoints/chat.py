"""`POST /v1/chat/completions`."""

from collections.abc import Sequence
from typing import Any

from spillway.gateway.answers import AnswerMessage, ChatAnswer, ChatChoice, ChatLogprobs
from spillway.gateway.choices import ChoiceText, Part, TokenEntry
from spillway.gateway.endpoints.writing import REASONS, ChunkedForm, to_json, token_logprobs, usage_answer
from spillway.gateway.models import Model
from spillway.gateway.plan import Head, Plan, Prompt, TextPrompt, Usage
from spillway.gateway.problems import invalid
from spillway.gateway.schema import ChatMessage, ChatRequest
from spillway.settings import GenerationSettings
from spillway_text.errors import InvalidPromptError


def plan_chat(request: ChatRequest, model: Model, settings: GenerationSettings) -> Plan:
    """Say what a conversation asks for. Raises `Problem`."""
    if request.store:
        raise invalid("'store' is not supported by this server", "store", code="unsupported_parameter")
    if request.top_logprobs is not None and not request.logprobs:
        raise invalid("'top_logprobs' needs 'logprobs' to be true", "top_logprobs", code="invalid_value")
    if None not in {request.max_tokens, request.max_completion_tokens}:
        raise invalid(
            "'max_tokens' and 'max_completion_tokens' are the same: give one", "max_tokens", code="invalid_value"
        )
    for place, message in enumerate(request.messages):
        if message.content is None and message.role != "assistant":
            raise invalid(f"messages[{place}] has no content", f"messages[{place}].content", code="invalid_value")
    messages = [template_message(message) for message in request.messages]
    newer = request.max_completion_tokens is not None
    return Plan(
        request=request,
        model=model,
        render=lambda: render_chat(model, messages),
        size=sum(len(message["content"]) for message in messages),
        prompt_param="messages",
        max_tokens=request.max_completion_tokens if newer else request.max_tokens,
        max_tokens_param="max_completion_tokens" if newer else "max_tokens",
        default_max_tokens=model.preferences.max_new_tokens or settings.max_tokens_chat,
        form=lambda head, _: ChatForm(head, request),
        logprobs=(request.top_logprobs or 0) if request.logprobs else None,
    )


def template_message(message: ChatMessage) -> dict[str, Any]:
    """Return a message as chat templates know it: parts put together, what was not given left out."""
    content = message.content
    found: dict[str, Any] = {
        "role": message.role,
        "content": "".join(part.text for part in content) if isinstance(content, list) else content or "",
    }
    if message.name is not None:
        found["name"] = message.name
    if message.tool_call_id is not None:
        found["tool_call_id"] = message.tool_call_id
    return found


def render_chat(model: Model, messages: Sequence[dict[str, Any]]) -> Sequence[Prompt]:
    """Return the prompt that the model's template makes of a conversation. Raises `Problem` if it refuses it."""
    try:
        return [TextPrompt(model.text.render_chat(messages), special_tokens=False)]
    except InvalidPromptError as error:
        raise invalid(str(error), "messages", code="invalid_value") from error


class ChatForm(ChunkedForm):
    """Chat completions, and their chunks, of which all but text and index is written once."""

    def __init__(self, head: Head, request: ChatRequest) -> None:
        super().__init__(
            head, f"chatcmpl-{head.request_id}", "chat.completion.chunk", request.stream_options, service_tier=head.tier
        )
        self._logprobs = bool(request.logprobs)
        self._delta_start = [
            b'%b{"index":%d,"delta":{"content":' % (self._start, index) for index in range(request.n or 1)
        ]
        self._delta_end = b'},"logprobs":null,"finish_reason":null}' + self._end

    def opening(self, choice: ChoiceText) -> bytes:
        """Say who speaks, once for each choice."""
        said = b'%b{"index":%d,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,' % (
            self._start,
            choice.index,
        )
        return said + b'"finish_reason":null}' + self._end

    def delta(self, index: int, part: Part) -> bytes:
        """Write a chunk with text."""
        if not part.entries:
            return self._delta_start[index] + to_json(part.text) + self._delta_end
        logprobs = to_json(ChatLogprobs(content=self._content(part.entries)))
        text = self._delta_start[index] + to_json(part.text)
        return text + b'},"logprobs":' + logprobs + b',"finish_reason":null}' + self._end

    def ending(self, choice: ChoiceText) -> bytes:
        """Write a chunk with the reason of an end."""
        reason = REASONS[choice.reason].encode()
        said = b'%b{"index":%d,"delta":{},"logprobs":null,"finish_reason":"%b"}' % (self._start, choice.index, reason)
        return said + self._end

    def whole(self, choices: Sequence[ChoiceText], parts: Sequence[Part], usage: Usage) -> bytes:
        """Write an answer that is not streamed."""
        head = self._head
        return to_json(
            ChatAnswer(
                id=self._id,
                created=head.created,
                model=head.model.name,
                choices=[
                    ChatChoice(
                        index=choice.index,
                        message=AnswerMessage(content=part.text),
                        logprobs=ChatLogprobs(content=self._content(part.entries)) if self._logprobs else None,
                        finish_reason=REASONS[choice.reason],
                    )
                    for choice, part in zip(choices, parts, strict=True)
                ],
                usage=usage_answer(usage),
                service_tier=head.tier,
                system_fingerprint=head.model.fingerprint,
            )
        )

    def _content(self, entries: Sequence[TokenEntry]) -> Any:
        model = self._head.model
        return [token_logprobs(model, entry.logprobs.chosen, entry.logprobs.top) for entry in entries]
