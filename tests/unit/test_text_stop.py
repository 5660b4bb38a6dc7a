"""Stop strings, by example."""

import pytest

from spillway_text.stop import StopStrings


def test_a_stop_string_across_pieces_never_leaks() -> None:
    stream = StopStrings(["\n\n", "END"])
    assert stream.push("It is 42") == ("It is 42", None)
    assert stream.push(".\nEN") == (".\n", None)
    assert stream.push("D of") == ("", "END")
    assert stream.push("more") == ("", "END")
    assert stream.finish() == ""


def test_what_turned_out_to_be_no_stop_string_is_shown() -> None:
    stream = StopStrings(["<|end|>"])
    assert stream.push("a <|en") == ("a ", None)
    assert stream.push("try|> <") == ("<|entry|> ", None)
    assert stream.finish() == "<"


def test_a_false_start_inside_a_stop_string_is_not_forgotten() -> None:
    stream = StopStrings(["aab"])
    assert stream.push("aa") == ("", None)
    assert stream.push("ab!") == ("a", "aab")


def test_the_first_to_be_complete_counts_and_then_the_longest() -> None:
    assert StopStrings(["abcd", "b"]).push("xabcd") == ("xa", "b")
    assert StopStrings(["b", "ab"]).push("xab") == ("x", "ab")


@pytest.mark.parametrize("stops", [[], [""], ["a", ""]])
def test_an_empty_stop_string_is_refused(stops: list[str]) -> None:
    with pytest.raises(ValueError, match="at least one stop string"):
        StopStrings(stops)


def test_ten_thousand_long_stop_strings_cost_a_step_for_each_character() -> None:
    stream = StopStrings(["a" * length + "b" for length in range(100)] + [f"stop {number}" for number in range(9_900)])
    assert stream.push("a" * 1_000) == ("a" * 901, None)
    assert stream.push("b") == ("", "a" * 99 + "b")
