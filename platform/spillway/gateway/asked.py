"""What a request asks, as messages: for traces and logs of tenants whose contents the settings ask for."""

from collections.abc import Iterator

from spillway.gateway.schema import (
    ChatMessage,
    ChatRequest,
    CompletionRequest,
    GenerateBatchRequest,
    GenerateRequest,
    SamplingFields,
)
from spillway.telemetry.tracing.contents import Message


def messages_of(request: SamplingFields) -> Iterator[Message]:
    """Yield role and text of all that a request asks; a prompt of token ids as the ids."""
    match request:
        case ChatRequest():
            yield from ((message.role, _text(message)) for message in request.messages)
        case CompletionRequest(prompt=str(text)) | GenerateRequest(prompt=text):
            yield "user", text
        case CompletionRequest(prompt=prompts):
            if all(isinstance(token, int) for token in prompts):
                yield "user", str(prompts)
            else:
                yield from (("user", str(prompt)) for prompt in prompts)
        case GenerateBatchRequest(prompts=prompts):
            yield from (("user", prompt) for prompt in prompts)


def _text(message: ChatMessage) -> str:
    if isinstance(message.content, list):
        return "".join(part.text for part in message.content)
    return message.content or ""
