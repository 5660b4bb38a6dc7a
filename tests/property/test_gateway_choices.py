"""However an answer's tokens are cut into pieces, what is shown is the same, and no part of a stop string is."""

import itertools
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spillway.gateway.choices import ChoiceText, TokenEntry
from spillway.gateway.models import Model
from spillway.pool.contract import Piece
from spillway_text.stop import StopAutomaton
from spillway_wire.messages import Finish, PositionLogprobs, TokenLogprob, Usage
from spillway_wire.outcomes import FinishReason, Outcome

STOPS = st.lists(st.text(alphabet="2 3é\N{SNOWMAN}x", min_size=1, max_size=4), max_size=4)
EOS = 2


@pytest.fixture(scope="module")
def model(gateway_house: ModuleType) -> Model:
    return Model.load("demo", gateway_house.DEMO)


def logprobs(token: int) -> PositionLogprobs:
    return PositionLogprobs(chosen=TokenLogprob(token_id=token, logprob=-1.0, rank=1))


def run(
    model: Model, tokens: list[int], cuts: list[int], stops: list[str], *, ends_itself: bool
) -> tuple[ChoiceText, str, list[TokenEntry], list[str]]:
    """Feed the tokens in pieces that end at `cuts`; return the choice, its text, its entries and each text shown."""
    choice = ChoiceText(model, 0, stops=StopAutomaton(stops) if stops else None, logprobs=True)
    answer = [*tokens, EOS] if ends_itself else tokens
    edges = sorted({0, *(cut % (len(answer) + 1) for cut in cuts), len(answer)})
    reason = FinishReason.STOP if ends_itself else FinishReason.LENGTH
    usage = Usage(prompt_tokens=1, cached_tokens=0, output_tokens=len(answer))
    shown: list[str] = []
    entries: list[TokenEntry] = []
    for start, end in itertools.pairwise(edges):
        last = end == len(answer)
        finish = Finish(outcome=Outcome.COMPLETED, reason=reason, usage=usage) if last else None
        part = tuple(answer[start:end])
        said = choice.accept(Piece(0, part, tuple(map(logprobs, part)), finish=finish))
        shown.append(said.text)
        entries += said.entries
    return choice, "".join(shown), entries, shown


def before_the_first(text: str, stops: list[str]) -> str | None:
    """Return what stands before the stop string that is complete first; of those, the longest."""
    for end in range(1, len(text) + 1):
        ending = [stop for stop in stops if text[:end].endswith(stop)]
        if ending:
            return text[: end - len(max(ending, key=len))]
    return None


@settings(deadline=None)
@given(st.data())
def test_pieces_do_not_matter_and_stop_strings_never_leak(model: Model, data: st.DataObject) -> None:
    text = data.draw(st.text(alphabet="2 3é\N{SNOWMAN}\N{GRINNING FACE}x", max_size=30))
    tokens = model.text.encode(text, add_special_tokens=False)
    if not tokens:
        return
    stops = data.draw(STOPS)
    ends_itself = data.draw(st.booleans())
    cuts = data.draw(st.lists(st.integers(0, 40), max_size=10))
    whole, whole_text, whole_entries, _ = run(model, tokens, [], stops, ends_itself=ends_itself)
    choice, found, entries, shown = run(model, tokens, cuts, stops, ends_itself=ends_itself)
    assert (found, entries, choice.token_ids) == (whole_text, whole_entries, whole.token_ids)
    assert choice.reason is whole.reason

    plain = model.text.decode(tokens)
    expected = before_the_first(plain, stops)
    if expected is None:
        assert found == plain
        assert choice.reason is (FinishReason.STOP if ends_itself else FinishReason.LENGTH)
        assert len(choice.token_ids) == len(tokens) + ends_itself
        assert len(entries) == len(tokens)
    else:
        assert found == expected
        assert choice.reason is FinishReason.STOP
        assert all(entry.offset < len(found) for entry in entries)
    so_far = ""
    for piece in shown:  # nothing that was shown is taken back, and no half character is
        so_far += piece
        assert plain.startswith(so_far)


@settings(deadline=None)
@given(st.lists(st.integers(0, 3071), min_size=1, max_size=20), st.lists(st.integers(0, 40), max_size=6))
def test_any_tokens_at_all_are_counted_and_shown_alike_however_they_are_cut(
    model: Model, tokens: list[int], cuts: list[int]
) -> None:
    whole, whole_text, whole_entries, _ = run(model, tokens, [], [], ends_itself=False)
    choice, found, entries, _ = run(model, tokens, cuts, [], ends_itself=False)
    assert choice.token_ids == whole.token_ids == tokens
    assert (found, entries) == (whole_text, whole_entries)
    assert [entry.logprobs.chosen.token_id for entry in entries] == tokens
