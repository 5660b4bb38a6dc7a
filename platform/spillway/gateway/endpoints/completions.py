"""`POST /v1/completions`: OpenAI's older endpoint, which completes texts or tokens as they are."""

from collections.abc import Iterable, Sequence

from spillway.gateway.answers import CompletionAnswer, CompletionChoice, TextLogprobs
from spillway.gateway.choices import ChoiceText, Part, TokenEntry
from spillway.gateway.endpoints.writing import REASONS, ChunkedForm, to_json, usage_answer
from spillway.gateway.models import Model
from spillway.gateway.plan import Head, Plan, Prompt, TextPrompt, Usage
from spillway.gateway.problems import invalid
from spillway.gateway.schema import MAX_PROMPTS, CompletionRequest
from spillway.settings import GenerationSettings
from spillway_wire.messages import PositionLogprobs


def plan_completion(request: CompletionRequest, model: Model, settings: GenerationSettings) -> Plan:
    """Say what prompts ask for. Raises `Problem`."""
    if request.best_of is not None and request.best_of != (request.n or 1):
        raise invalid(
            "'best_of' other than 'n' is not supported: every answer is returned", "best_of", code="unsupported_value"
        )
    prompts = prompts_of(request)
    return Plan(
        request=request,
        model=model,
        render=lambda: prompts,
        size=sum(len(prompt.text) for prompt in prompts if isinstance(prompt, TextPrompt)),
        prompt_param="prompt",
        max_tokens=request.max_tokens,
        max_tokens_param="max_tokens",
        default_max_tokens=model.preferences.max_new_tokens or settings.max_tokens_generate,
        form=lambda head, tokens: CompletionForm(head, request, _echoes(request, model, prompts, tokens), tokens),
        logprobs=request.logprobs,
        prompt_logprobs=request.logprobs if request.echo else None,
        continues=True,
    )


def prompts_of(request: CompletionRequest) -> list[Prompt]:
    """Tell the four forms of `prompt` apart. Raises `Problem` for a mixture."""
    prompt = request.prompt
    if isinstance(prompt, str):
        return [TextPrompt(prompt, special_tokens=True)]
    if all(isinstance(token, int) for token in prompt):
        return [[token for token in prompt if isinstance(token, int)]]
    if len(prompt) > MAX_PROMPTS:
        raise invalid(f"'prompt' holds {len(prompt)} prompts; at most {MAX_PROMPTS} are allowed", "prompt")
    if any(isinstance(each, int) for each in prompt) or len({type(each) for each in prompt}) > 1:
        raise invalid("'prompt' must hold texts, token ids, or lists of token ids: not a mixture", "prompt")
    return [
        TextPrompt(each, special_tokens=True) if isinstance(each, str) else each
        for each in prompt
        if not isinstance(each, int)
    ]


def _echoes(
    request: CompletionRequest, model: Model, prompts: Sequence[Prompt], tokens: Sequence[list[int]]
) -> list[str]:
    """Return what of each prompt is sent back before its completions."""
    if not request.echo:
        return [""] * len(tokens)
    return [
        prompt.text if isinstance(prompt, TextPrompt) else model.text.decode(ids)
        for prompt, ids in zip(prompts, tokens, strict=True)
    ]


class CompletionForm(ChunkedForm):
    """Text completions; their chunks have the same form."""

    def __init__(
        self, head: Head, request: CompletionRequest, echoes: Sequence[str], prompts: Sequence[list[int]]
    ) -> None:
        super().__init__(head, f"cmpl-{head.request_id}", "text_completion", request.stream_options)
        self._per_prompt = request.n or 1
        self._echo = bool(request.echo)
        self._logprobs = request.logprobs
        self._echoes = echoes
        self._prompts = prompts
        num_choices = len(prompts) * self._per_prompt
        self._starts = [b'%b{"index":%d,"text":' % (self._start, index) for index in range(num_choices)]
        self._delta_end = b',"logprobs":null,"finish_reason":null}' + self._end

    def opening(self, choice: ChoiceText) -> bytes:
        """Write the prompt, if it is to be echoed."""
        if not self._echo:
            return b""
        return self._chunk(choice.index, self._echo_of(choice), self._prompt_logprobs(choice))

    def delta(self, index: int, part: Part) -> bytes:
        """Write a chunk with text."""
        if self._logprobs is None:
            return self._starts[index] + to_json(part.text) + self._delta_end
        return self._chunk(index, part.text, self._text_logprobs(index, part.entries))

    def ending(self, choice: ChoiceText) -> bytes:
        """Write a chunk with the reason of an end."""
        reason = REASONS[choice.reason].encode()
        said = self._starts[choice.index] + b'"","logprobs":null,"finish_reason":"' + reason + b'"}'
        return said + self._end

    def whole(self, choices: Sequence[ChoiceText], parts: Sequence[Part], usage: Usage) -> bytes:
        """Write an answer that is not streamed."""
        head = self._head
        return to_json(
            CompletionAnswer(
                id=self._id,
                created=head.created,
                model=head.model.name,
                choices=[
                    CompletionChoice(
                        index=choice.index,
                        text=self._echo_of(choice) + part.text,
                        logprobs=self._whole_logprobs(choice, part),
                        finish_reason=REASONS[choice.reason],
                    )
                    for choice, part in zip(choices, parts, strict=True)
                ],
                usage=usage_answer(usage),
                system_fingerprint=head.model.fingerprint,
            )
        )

    def _chunk(self, index: int, text: str, logprobs: TextLogprobs | None) -> bytes:
        said = self._starts[index] + to_json(text) + b',"logprobs":' + to_json(logprobs)
        return said + b',"finish_reason":null}' + self._end

    def _echo_of(self, choice: ChoiceText) -> str:
        return self._echoes[choice.index // self._per_prompt]

    def _whole_logprobs(self, choice: ChoiceText, part: Part) -> TextLogprobs | None:
        if self._logprobs is None:
            return None
        answer = self._text_logprobs(choice.index, part.entries)
        prompt = self._prompt_logprobs(choice)
        if prompt is None:
            return answer
        return TextLogprobs(
            tokens=prompt.tokens + answer.tokens,
            token_logprobs=prompt.token_logprobs + answer.token_logprobs,
            top_logprobs=prompt.top_logprobs + answer.top_logprobs,
            text_offset=prompt.text_offset + answer.text_offset,
        )

    def _text_logprobs(self, index: int, entries: Sequence[TokenEntry]) -> TextLogprobs:
        before = len(self._echoes[index // self._per_prompt])
        return _parallel(
            self._head.model,
            (entry.logprobs for entry in entries),
            [before + entry.offset for entry in entries],
        )

    def _prompt_logprobs(self, choice: ChoiceText) -> TextLogprobs | None:
        """Return those of an echoed prompt; nothing comes before its first token, so that one has none."""
        if not self._echo or self._logprobs is None:
            return None
        model = self._head.model
        tokens = self._prompts[choice.index // self._per_prompt]
        offsets, end = [], 0
        detokenizer = model.text.detokenizer()
        for token in tokens:
            offsets.append(end)
            end += len(detokenizer.push(token))
        rest = _parallel(model, choice.prompt_logprobs, offsets[1:])
        return TextLogprobs(
            tokens=[model.token_text(tokens[0]), *rest.tokens],
            token_logprobs=[None, *rest.token_logprobs],
            top_logprobs=[None, *rest.top_logprobs],
            text_offset=[0, *rest.text_offset],
        )


def _parallel(model: Model, places: Iterable[PositionLogprobs], offsets: list[int]) -> TextLogprobs:
    found = list(places)
    return TextLogprobs(
        tokens=[model.token_text(place.chosen.token_id) for place in found],
        token_logprobs=[place.chosen.logprob for place in found],
        top_logprobs=[{model.token_text(token.token_id): token.logprob for token in place.top} for place in found],
        text_offset=offsets[: len(found)],
    )
