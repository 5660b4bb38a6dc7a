"""`POST /generate` and `POST /generate_batch`: text in, text out, with as little around it as can be."""

from collections.abc import Sequence

from spillway.gateway.answers import GenerateAnswer, GeneratedOutput
from spillway.gateway.choices import ChoiceText, Part
from spillway.gateway.endpoints.chat import render_chat
from spillway.gateway.endpoints.writing import DONE, END_OF_EVENT, REASONS, to_json, usage_answer
from spillway.gateway.models import Model
from spillway.gateway.plan import Form, Head, Plan, Prompt, TextPrompt, Usage
from spillway.gateway.schema import GenerateBatchRequest, GenerateRequest
from spillway.settings import GenerationSettings


def plan_generate(request: GenerateRequest, model: Model, settings: GenerationSettings) -> Plan:
    """Say what a prompt asks for."""
    return _plan(request, [request.prompt], "prompt", model, settings)


def plan_generate_batch(request: GenerateBatchRequest, model: Model, settings: GenerationSettings) -> Plan:
    """Say what several prompts ask for; all have the same parameters."""
    return _plan(request, request.prompts, "prompts", model, settings)


def _plan(
    request: GenerateRequest | GenerateBatchRequest,
    prompts: list[str],
    prompt_param: str,
    model: Model,
    settings: GenerationSettings,
) -> Plan:
    raw = request.raw or not model.text.has_chat_template
    return Plan(
        request=request,
        model=model,
        render=lambda: [_render(model, prompt, raw=raw) for prompt in prompts],
        size=sum(map(len, prompts)),
        prompt_param=prompt_param,
        max_tokens=request.max_tokens,
        max_tokens_param="max_tokens",
        default_max_tokens=model.preferences.max_new_tokens or settings.max_tokens_generate,
        form=lambda head, tokens: GenerateForm(head, len(tokens) * (request.n or 1)),
        continues=raw,
    )


def _render(model: Model, prompt: str, *, raw: bool) -> Prompt:
    if raw:
        return TextPrompt(prompt, special_tokens=True)
    return render_chat(model, [{"role": "user", "content": prompt}])[0]


class GenerateForm(Form):
    """Outputs; streamed as events that all hold `text`, the last of them with the usage."""

    def __init__(self, head: Head, num_choices: int) -> None:
        self._head = head
        self._starts = [b'data: {"index":%d,"text":' % index for index in range(num_choices)]
        self._end = b',"finish_reason":null}' + END_OF_EVENT

    def opening(self, choice: ChoiceText) -> bytes:
        """Write nothing: the first text says enough."""
        return b""

    def delta(self, index: int, part: Part) -> bytes:
        """Write an event with text."""
        return self._starts[index] + to_json(part.text) + self._end

    def ending(self, choice: ChoiceText) -> bytes:
        """Write an event with the reason of an end."""
        reason = REASONS[choice.reason].encode()
        return self._starts[choice.index] + b'"","finish_reason":"' + reason + b'"}' + END_OF_EVENT

    def closing(self, usage: Usage) -> bytes:
        """Write the counts and the end."""
        said = b'data: {"text":"","usage":' + to_json(usage_answer(usage)) + b"}"
        return said + END_OF_EVENT + DONE

    def whole(self, choices: Sequence[ChoiceText], parts: Sequence[Part], usage: Usage) -> bytes:
        """Write an answer that is not streamed."""
        return to_json(
            GenerateAnswer(
                outputs=[
                    GeneratedOutput(
                        index=choice.index,
                        text=part.text,
                        token_ids=choice.token_ids,
                        finish_reason=REASONS[choice.reason],
                    )
                    for choice, part in zip(choices, parts, strict=True)
                ],
                usage=usage_answer(usage),
                id=f"gen-{self._head.request_id}",
                model=self._head.model.name,
            )
        )
