"""The engine as a library, on the demo model."""

import io
import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from spillway_engine import Engine, SamplingParams, offline
from spillway_engine.cpu import startup
from spillway_engine.errors import (
    EngineError,
    InvalidRequestError,
    MemoryBudgetError,
    ModelNotFoundError,
    RequestTooLargeError,
    SettingsError,
)
from spillway_engine.kernel_cache import COMPILING
from spillway_wire.outcomes import FinishReason

GREEDY = SamplingParams(temperature=0.0)
SEEDED = SamplingParams(temperature=1.5, seed=3)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine("demo", kv_cache_bytes=8 << 20, max_num_seqs=16) as loaded:
        yield loaded


def test_a_text_goes_through_the_chat_template(engine: Engine) -> None:
    (output,) = engine.generate("Count from 37 to 43", GREEDY)
    assert output.text == "37 38 39 40 41 42 43"
    assert output.answers[0].finish_reason is FinishReason.STOP
    chat = engine.text.encode_chat([{"role": "user", "content": "Count from 37 to 43"}])
    assert output.prompt_token_ids == chat
    assert engine.generate([chat], GREEDY)[0].text == output.text
    assert engine.generate([[{"role": "user", "content": "Count from 37 to 43"}]], GREEDY)[0].text == output.text


def test_raw_takes_a_text_as_it_is(engine: Engine) -> None:
    (output,) = engine.generate("Count from 1 to 3", SamplingParams(temperature=0.0, max_tokens=1), raw=True)
    assert output.prompt_token_ids == engine.text.encode("Count from 1 to 3")


def test_outputs_come_in_the_order_of_prompts_with_parameters_of_their_own(engine: Engine) -> None:
    prompts = [f"Count from {first} to {first + 4}" for first in range(10, 40, 3)]
    params = [SamplingParams(temperature=0.0, max_tokens=limit) for limit in range(1, 11)]
    outputs = engine.generate(prompts, params)
    for first, limit, output in zip(range(10, 40, 3), range(1, 11), outputs, strict=True):
        expected = " ".join(str(number) for number in range(first, first + 5)[:limit])
        assert output.text == expected


def test_choices_differ_and_each_is_what_it_is_alone(engine: Engine) -> None:
    (together,) = engine.generate("Tell me a joke", SEEDED, n=4)
    assert [answer.index for answer in together.answers] == [0, 1, 2, 3]
    assert len({answer.text for answer in together.answers}) > 1
    (first,) = engine.generate("Tell me a joke", SEEDED)
    assert first.answers[0].token_ids == together.answers[0].token_ids


def test_a_stream_gives_the_answer_in_pieces(engine: Engine) -> None:
    (whole,) = engine.generate("Count from 5 to 12", GREEDY)
    pieces = list(engine.stream("Count from 5 to 12", GREEDY))
    assert "".join(piece.text for piece in pieces) == whole.text
    assert [token for piece in pieces for token in piece.token_ids] == whole.answers[0].token_ids
    assert [piece.finish_reason for piece in pieces] == [None] * (len(pieces) - 1) + [FinishReason.STOP]


def test_streams_that_are_open_at_once_do_not_mix(engine: Engine) -> None:
    first, second = (engine.stream(f"Count from {start} to {start + 5}", GREEDY) for start in (100, 200))
    texts = ["", ""]
    for one, other in zip(first, second, strict=True):
        texts[0] += one.text
        texts[1] += other.text
    assert texts == ["100 101 102 103 104 105", "200 201 202 203 204 205"]


def test_a_stream_that_is_closed_gives_its_blocks_back(engine: Engine) -> None:
    stream = engine.stream("Count from 1 to 900", GREEDY)
    next(stream)
    assert engine.snapshot()["live"] == 1
    stream.close()  # type: ignore[attr-defined]  # a generator is an iterator that can be closed
    snapshot = engine.snapshot()
    assert snapshot["live"] == 0
    assert snapshot["blocks"]["used"] == 0


def test_bad_requests_are_refused_and_nothing_stays_behind(engine: Engine) -> None:
    with pytest.raises(InvalidRequestError, match="temperature is 3"):
        engine.generate(["Hi", "Hi"], [GREEDY, SamplingParams(temperature=3.0)])
    with pytest.raises(InvalidRequestError, match="2 prompts came with 1"):
        engine.generate(["Hi", "Hi"], [GREEDY])
    with pytest.raises(RequestTooLargeError):
        engine.generate([[5] * 3000], GREEDY)
    assert engine.snapshot()["live"] == 0


def test_wrong_settings_are_named() -> None:
    with pytest.raises(SettingsError, match="block_size is 24"):
        Engine("demo", block_size=24)
    with pytest.raises(SettingsError, match="max_model_len is 4096"):
        Engine("demo", max_model_len=4096)
    with pytest.raises(ModelNotFoundError):
        Engine("./no/such/folder")
    with pytest.raises(MemoryBudgetError, match=f"kv_cache_bytes is {1 << 60}; "):
        Engine("demo", kv_cache_bytes=1 << 60)


def test_a_closed_engine_says_so_whatever_is_asked_of_it() -> None:
    engine = Engine("demo", kv_cache_bytes=8 << 20, max_num_seqs=4, threads=2)
    stream = engine.stream("Count from 1 to 900", GREEDY)
    next(stream)
    runner = engine._loaded.runner
    engine.close()
    engine.close()
    for use in (
        lambda: next(stream),
        lambda: engine.generate("Hi"),
        lambda: next(engine.stream("Hi")),
        engine.snapshot,
        engine.__enter__,
    ):
        with pytest.raises(EngineError, match="this engine is closed"):
            use()
    with pytest.raises(RuntimeError, match="its runner is closed"):
        runner._team.run()  # type: ignore[attr-defined]  # it is the native one


def test_a_folder_without_a_tokenizer_serves_token_ids(tmp_path: Path, engine: Engine) -> None:
    for name in ("config.json", "generation_config.json", "model.safetensors"):
        if (source := engine._loaded.path / name).exists():
            shutil.copy(source, tmp_path / name)
    prompt = engine.text.encode_chat([{"role": "user", "content": "Count from 37 to 43"}])
    expected = engine.generate([prompt], GREEDY)[0].answers[0].token_ids
    with Engine(str(tmp_path), kv_cache_bytes=8 << 20, max_num_seqs=4) as bare:
        (output,) = bare.generate([prompt], GREEDY)
        assert (output.text, output.answers[0].token_ids) == ("", expected)
        pieces = list(bare.stream(prompt, GREEDY))
        assert [token for piece in pieces for token in piece.token_ids] == expected
        with pytest.raises(ModelNotFoundError, match="can be given token ids but no text"):
            bare.generate("Hi")


def test_waiting_for_company_does_not_keep_a_core_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    with Engine("demo", kv_cache_bytes=8 << 20, max_num_seqs=4, batch_wait_s=0.1) as engine:
        steps = itertools.count()
        step = engine._core.step
        monkeypatch.setattr(engine._core, "step", lambda: (next(steps), step())[1])
        engine.generate("Hi", SamplingParams(max_tokens=1))
    assert next(steps) < 10


def test_a_first_start_says_that_it_compiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "use_kernel_cache", lambda: tmp_path)
    phases: list[str] = []
    Engine("demo", kv_cache_bytes=8 << 20, report=lambda phase, _: phases.append(phase)).close()
    assert phases[-1] == COMPILING


@pytest.mark.parametrize("is_terminal", [False, True])
def test_only_a_terminal_is_told_by_default(monkeypatch: pytest.MonkeyPatch, is_terminal: bool) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: is_terminal)
    monkeypatch.setattr("sys.stderr", stream)
    for phase in ("loading weights", "warming up", COMPILING):
        offline._tell_terminal(phase, 0.0)
    assert stream.getvalue() == (f"spillway: {COMPILING}\n" if is_terminal else "")
