"""The engine process's command line, its addresses, and what it expects of a step."""

from pathlib import Path

import pytest

from spillway_engine.errors import SettingsError
from spillway_engine.process.flags import parse_flags, to_flags
from spillway_engine.process.progress import DurationEstimate
from spillway_engine.settings import Backend, EngineSettings, StepPolicy
from spillway_wire.address import Address, AddressError, TcpAddress, UnixAddress, parse_address
from spillway_wire.oplog import RateLimited

WHERE = ["--address", "unix:/run/e.sock"]


@pytest.mark.parametrize(
    "settings",
    [
        EngineSettings(model="demo"),
        EngineSettings(
            model="/models/x",
            served_name="x",
            dtype="bfloat16",
            device="cpu",
            backend=Backend.TRANSFORMERS,
            max_model_len=4096,
            block_size=32,
            kv_cache_bytes=10**9,
            gpu_memory_utilization=0.5,
            max_num_batched_tokens=512,
            max_num_seqs=8,
            prefix_caching=False,
            step_policy=StepPolicy.PREFILL_FIRST,
            batch_wait_s=0.25,
            threads=2,
            trust_remote_code=True,
        ),
    ],
)
def test_every_setting_goes_through_the_command_line(settings: EngineSettings) -> None:
    parsed, process = parse_flags([*to_flags(settings), *WHERE])
    assert parsed == settings
    assert type(parsed.step_policy) is StepPolicy
    assert (process.address, process.engine_id, process.incarnation) == (UnixAddress("/run/e.sock"), "engine-0", 1)
    assert (process.page, process.chaos, process.parent_pid) == (None, False, None)


def test_where_and_as_what_a_process_serves() -> None:
    more = ["--engine-id", "e7", "--incarnation", "4", "--page", "/run/p", "--chaos", "--parent-pid", "12"]
    _, process = parse_flags(["--model", "demo", *WHERE, *more])
    assert (process.engine_id, process.incarnation, process.page) == ("e7", 4, Path("/run/p"))
    assert (process.chaos, process.parent_pid) == (True, 12)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (WHERE, "--model"),
        (["--model", "demo"], "--address"),
        (["--model", "demo", "--address", "nowhere"], "--address: 'nowhere' is no address"),
        (["--model", "demo", *WHERE, "--dtype", "int3"], "dtype is 'int3'; allowed: auto, float32"),
        (["--model", "demo", *WHERE, "--step-policy", "x"], "'x' is not allowed; allowed: decode_first, prefill_first"),
        (["--model", "demo", *WHERE, "--threads", "many"], "--threads: 'many' is not a whole number"),
        (["--model", "demo", *WHERE, "--threads", "0"], "threads is 0; it must be at least 1"),
        (["--model", "demo", *WHERE, "--batch-wait-s", "x"], "--batch-wait-s: 'x' is not a number"),
        (["--model", "demo", *WHERE, "--colour"], "unrecognized arguments: --colour"),
    ],
)
def test_a_wrong_flag_is_refused_by_name(flags: list[str], message: str) -> None:
    with pytest.raises(SettingsError) as refused:
        parse_flags(flags)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:/run/x", UnixAddress("/run/x")),
        ("tcp:127.0.0.1:80", TcpAddress("127.0.0.1", 80)),
        ("tcp:[::1]:0", TcpAddress("::1", 0)),
    ],
)
def test_addresses_are_read_as_they_are_written(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("unix:", "names no path"),
        ("unix:/" + "x" * 107, "is 108 bytes long; at most 107"),
        ("unix:/" + "ü" * 54, "is 109 bytes long"),
        ("tcp:localhost", "no TCP address"),
        ("tcp:host:99999", "port from 0 to 65535"),
        ("/run/x", "is no address"),
    ],
)
def test_wrong_addresses_say_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(AddressError) as refused:
        parse_address(text)
    assert message in str(refused.value)


def test_durations_are_learnt_for_each_size_of_step() -> None:
    estimate = DurationEstimate(cold_ns=500)
    assert estimate.expected_ns(1) == 500
    estimate.learn(32, 1_000)
    assert estimate.expected_ns(33) == 1_000
    assert estimate.expected_ns(1) == 1_000, "from a larger size as it is"
    assert estimate.expected_ns(300) == 8_000, "from a smaller size in proportion"
    estimate.learn(40, 2_000)
    assert estimate.expected_ns(32) == 1_250
    for _ in range(40):
        estimate.learn(32, 4_000)
    assert estimate.expected_ns(32) == pytest.approx(4_000, rel=0.01)


def test_of_many_events_the_first_of_each_second_is_logged() -> None:
    now = [0]
    logged: list[dict[str, object]] = []
    log = RateLimited(lambda _event, **fields: logged.append(fields), "malformed_frame", lambda: now[0])
    for at_ms in (0, 10, 900, 1_000, 1_500):
        now[0] = at_ms * 1_000_000
        log(at=at_ms)
    assert logged == [{"suppressed": 0, "at": 0}, {"suppressed": 2, "at": 1_000}]
