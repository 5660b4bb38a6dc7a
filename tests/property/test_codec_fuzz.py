"""Frames survive any splitting, and no bytes whatever raise into whoever feeds them."""

import random

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from spillway_wire.codec import FrameDecoder, FrameEncoder, Malformed
from spillway_wire.messages import (
    Abort,
    Backlog,
    Beat,
    Capacity,
    Channel,
    Choice,
    Credit,
    Delta,
    Drain,
    Exactness,
    Finish,
    FromEngine,
    Goodbye,
    Hello,
    Inject,
    Injected,
    LastWords,
    Load,
    Moment,
    MomentKind,
    PositionLogprobs,
    Ready,
    Rejected,
    SnapshotReply,
    SnapshotRequest,
    StepOutput,
    Stop,
    Submit,
    ToEngine,
    TokenLogprob,
    Usage,
    Welcome,
)
from spillway_wire.outcomes import FinishReason, Outcome
from spillway_wire.sampling import SamplingParams

text = st.text(max_size=20)
count = st.integers(0, 2**40)
token = st.integers(0, 200_000)
number = st.floats(allow_nan=False)

finish = st.builds(
    Finish,
    outcome=st.sampled_from(Outcome),
    reason=st.none() | st.sampled_from(FinishReason),
    usage=st.builds(Usage, prompt_tokens=count, cached_tokens=count, output_tokens=count),
    message=text,
)
token_logprob = st.builds(TokenLogprob, token_id=token, logprob=number, rank=count)
logprobs = st.lists(
    st.builds(PositionLogprobs, chosen=token_logprob, top=st.lists(token_logprob, max_size=2).map(tuple)), max_size=2
).map(tuple)
delta = st.builds(
    Delta,
    request_id=text,
    attempt=count,
    choice=count,
    position=count,
    token_ids=st.lists(token, max_size=3).map(tuple),
    logprobs=logprobs,
    prompt_logprobs=logprobs,
    moments=st.lists(st.builds(Moment, kind=st.sampled_from(MomentKind), at_ns=count, value=count), max_size=2).map(
        tuple
    ),
    finish=st.none() | finish,
)
load = st.builds(Load, running=count, waiting=count, free_blocks=count, waiting_prefill_tokens=count)
params = st.builds(
    SamplingParams,
    temperature=number,
    logit_bias=st.dictionaries(token, number, max_size=3),
    seed=st.integers(0, 2**64 - 1),
    stop_token_ids=st.lists(token, max_size=3).map(tuple),
    logprobs=st.none() | st.integers(0, 20),
)
choice = st.builds(Choice, index=count, output_token_ids=st.lists(token, max_size=4).map(tuple))

TO_ENGINE = {
    Hello: st.builds(Hello, client_id=text, channel=st.sampled_from(Channel)),
    Submit: st.builds(
        Submit,
        request_id=text,
        attempt=count,
        prompt_token_ids=st.lists(token, max_size=8),
        params=params,
        choices=st.lists(choice, max_size=2).map(tuple),
        priority=st.integers(-5, 5),
        timeout_s=st.none() | number,
        alone=st.booleans(),
        cache_salt=text,
    ),
    Abort: st.builds(Abort, request_id=text, attempt=count),
    Backlog: st.builds(Backlog, waiting=count, returned=count),
    Drain: st.builds(Drain),
    Stop: st.builds(Stop),
    Inject: st.builds(Inject, fault=text, at_step=st.none() | count, value=number, num_steps=count),
    SnapshotRequest: st.builds(SnapshotRequest, token=count),
}
plain = st.none() | st.booleans() | count | number | text
FROM_ENGINE = {
    Welcome: st.builds(
        Welcome,
        engine_id=text,
        incarnation=count,
        model=text,
        vocab_size=count,
        eos_token_ids=st.lists(token, max_size=2).map(tuple),
        exactness=st.sampled_from(Exactness),
        capacity=st.builds(
            Capacity,
            max_num_seqs=count,
            max_num_batched_tokens=count,
            max_model_len=count,
            num_blocks=count,
            block_size=count,
        ),
        engine_version=text,
    ),
    Goodbye: st.builds(Goodbye, reason=text),
    StepOutput: st.builds(
        StepOutput,
        sequence=count,
        step=count,
        started_ns=count,
        ended_ns=count,
        load=load,
        deltas=st.lists(delta, max_size=3).map(tuple),
        received=count,
    ),
    Rejected: st.builds(
        Rejected, sequence=count, request_id=text, attempt=count, outcome=st.sampled_from(Outcome), message=text
    ),
    Credit: st.builds(Credit, total=count),
    Ready: st.builds(Ready, incarnation=count, warmup_s=number),
    Beat: st.builds(
        Beat, step=count, output_sequence=count, at_ns=count, load=st.none() | load, received=count, credit=count
    ),
    SnapshotReply: st.builds(
        SnapshotReply,
        token=count,
        snapshot=st.dictionaries(text, plain | st.lists(plain, max_size=2) | st.dictionaries(text, plain, max_size=2)),
    ),
    Injected: st.builds(Injected, fault=text, armed=st.booleans(), message=text),
    LastWords: st.builds(LastWords, cause=text, message=text, traceback=text),
}
to_engine = st.one_of(*TO_ENGINE.values())
from_engine = st.one_of(*FROM_ENGINE.values())


def test_no_message_type_is_missing_here() -> None:
    assert set(TO_ENGINE) == set(ToEngine.__args__)
    assert set(FROM_ENGINE) == set(FromEngine.__args__)


def pieces(data: bytes, seed: int) -> list[bytes]:
    randomness = random.Random(seed)
    found = []
    while data:
        size = randomness.choice((1, 2, 3, 7, 50, 1000))
        found.append(data[:size])
        data = data[size:]
    return found


@given(st.lists(to_engine, max_size=4), st.integers())
def test_what_a_client_says_arrives_however_it_is_split(messages: list[msgspec.Struct], seed: int) -> None:
    encoder, decoder = FrameEncoder(), FrameDecoder[msgspec.Struct](ToEngine)
    data = b"".join(encoder.encode(message) for message in messages)
    assert [message for piece in pieces(data, seed) for message in decoder.feed(piece)] == messages
    assert decoder.num_pending == 0


@given(st.lists(from_engine, max_size=4), st.integers())
def test_what_an_engine_says_arrives_however_it_is_split(messages: list[msgspec.Struct], seed: int) -> None:
    encoder, decoder = FrameEncoder(), FrameDecoder[msgspec.Struct](FromEngine)
    data = b"".join(encoder.encode(message) for message in messages)
    assert [message for piece in pieces(data, seed) for message in decoder.feed(piece)] == messages
    assert decoder.num_pending == 0


@given(st.binary(max_size=200), st.integers())
def test_arbitrary_bytes_raise_nothing(data: bytes, seed: int) -> None:
    decoder = FrameDecoder[msgspec.Struct](ToEngine)
    for piece in pieces(data, seed):
        for found in decoder.feed(piece):
            assert isinstance(found, Malformed | Hello | Submit | Abort | Drain | Stop | Inject | SnapshotRequest)


@given(st.lists(from_engine, min_size=1, max_size=3), st.data())
def test_a_mangled_body_costs_its_own_frame_at_most(messages: list[msgspec.Struct], data: st.DataObject) -> None:
    encoder, decoder = FrameEncoder(), FrameDecoder[msgspec.Struct](FromEngine)
    frames = [bytearray(encoder.encode(message)) for message in messages]
    hit = data.draw(st.integers(0, len(frames) - 1))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(4, len(frames[hit]) - 1))
        frames[hit][at] = data.draw(st.integers(0, 255))
    found = decoder.feed(b"".join(frames))
    assert len(found) == len(messages)
    assert found[:hit] + found[hit + 1 :] == messages[:hit] + messages[hit + 1 :]


@given(to_engine, st.data())
def test_a_truncated_stream_waits_for_the_rest(message: msgspec.Struct, data: st.DataObject) -> None:
    decoder = FrameDecoder[msgspec.Struct](ToEngine)
    frame = FrameEncoder().encode(message)
    cut = data.draw(st.integers(0, len(frame) - 1))
    assert decoder.feed(frame[:cut]) == []
    assert decoder.num_pending == cut
    assert decoder.feed(frame[cut:]) == [message]
