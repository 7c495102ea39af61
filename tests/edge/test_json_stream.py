"""JSON objects out of a stream, however it is cut, spaced, nested and broken."""

import json
import random
import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.drivers.json_stream import MAX_DEPTH, Event, JsonStream, number, whole

TEXTS = st.text(max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(TEXTS, VALUES, max_size=4)
TRICKY = {"a": 'br{ace "}\\', "b": [{"c": {}}, [], "]"], "\n": "\u2028é口"}


def told(data: bytes, size: int, *, max_bytes: int = 65_536) -> tuple[list[Event], Counter[str], int]:
    counts: Counter[str] = Counter()
    stream = JsonStream(counts, max_bytes=max_bytes)
    found = [event for start in range(0, len(data), size) for event in stream.feed(data[start : start + size])]
    return found, counts, stream.pending_bytes()


@pytest.mark.parametrize("indent", [None, 0, 2, "\t"])
@pytest.mark.parametrize("between", ["\n", "", "\r\n\r\n", " , ", "\x1e"])
def test_objects_are_told_however_they_are_laid_out(indent: int | str | None, between: str) -> None:
    text = between.join(json.dumps(each, indent=indent) for each in [TRICKY, {}, {"n": 1}] * 2)
    for size in (1, 7, 4096):
        assert told(text.encode(), size) == ([TRICKY, {}, {"n": 1}] * 2, Counter(), 0)


@pytest.mark.parametrize("indent", [None, 0, 2])
def test_each_element_of_an_array_is_told_as_soon_as_it_is_closed(indent: int | None) -> None:
    text = json.dumps([TRICKY, {"n": 1}], indent=indent).encode()
    counts: Counter[str] = Counter()
    stream = JsonStream(counts)
    assert stream.feed(text[:-1]) == [TRICKY, {"n": 1}]
    assert stream.feed(text[-1:] + b"\n[]\n[{}]") == [{}]
    assert not counts


@given(st.lists(OBJECTS, max_size=4), st.sampled_from([None, 1]), st.integers(1, 40))
def test_what_was_written_is_read_in_chunks_of_any_size(objects: list[Event], indent: int | None, size: int) -> None:
    text = "\n".join(json.dumps(each, indent=indent) for each in objects).encode()
    assert told(text, size) == (objects, Counter(), 0)


@given(st.lists(st.sampled_from([b"{", b"}", b'"', b"\\", b"\n", b"[", b"]", b",", b":", b'{"a"', b'{"b":1}\n', b"\x00", b" "])))
def test_broken_json_gives_the_same_for_any_chunking(parts: list[bytes]) -> None:
    data = b"".join(parts)
    assert told(data, 1, max_bytes=24) == told(data, 1000, max_bytes=24) == told(data, 5, max_bytes=24)


@given(st.binary(max_size=200))
def test_no_bytes_raise_and_the_next_good_line_is_read_after_a_line_end(noise: bytes) -> None:
    counts: Counter[str] = Counter()
    stream = JsonStream(counts)
    stream.feed(noise + b'\n{"n": 1}\n{"n": 2}\n')
    assert {"n": 3} in [*stream.feed(b'{"n": 3}\n{"n": 4}\n'), *stream.finish()]


def test_an_object_cut_at_any_byte_costs_no_other_on_lines() -> None:
    line = json.dumps(TRICKY).encode()
    for kept in range(1, len(line)):
        counts: Counter[str] = Counter()
        stream = JsonStream(counts)
        found = stream.feed(line[:kept] + b'\n{"n": 1}\n{"n": 2}\n')
        assert [*found, *stream.finish()][-2:] == [{"n": 1}, {"n": 2}], kept
        assert counts["bad_json"] + counts["noise_bytes"] >= 1


def test_a_silence_inside_an_object_does_not_cost_it() -> None:
    line = json.dumps(TRICKY).encode()
    for first in range(1, len(line), 3):
        stream = JsonStream(Counter())
        found: list[Event] = []
        for part in (line[:first], line[first : first + 5], line[first + 5 :]):
            found += [*stream.feed(part), *stream.flush()]
        assert found == [TRICKY], first


def test_after_a_silence_a_whole_object_takes_the_place_of_one_that_was_cut() -> None:
    line = json.dumps(TRICKY).encode()
    for kept in range(1, len(line)):
        stream = JsonStream(Counter())
        assert [*stream.feed(line[:kept]), *stream.flush()] == []
        assert [*stream.feed(b'{"n": 1}'), *stream.flush()] == [{"n": 1}], kept


def test_an_object_that_is_too_long_is_given_up_and_counted() -> None:
    long = b'{"a": "' + b"x" * 100 + b'"}\n'
    for size in (1, 7, 4096):
        found, counts, _ = told(long + b'{"n": 1}', size, max_bytes=64)
        assert found == [{"n": 1}]
        assert counts["too_long"] == 1
    assert whole(long, Counter()) == [{"a": "x" * 100}]


def test_deep_nesting_is_refused_before_it_is_parsed() -> None:
    fine = b'{"a":' * (MAX_DEPTH - 1) + b"1" + b"}" * (MAX_DEPTH - 1)
    assert len(told(fine, 50)[0]) == 1
    counts: Counter[str] = Counter()
    stream = JsonStream(counts)
    stream.feed(b'{"a":[' * 20_000)
    assert counts["bad_json"] > 0
    assert stream.pending_bytes() < 1000


@pytest.mark.parametrize("part", [b'{"a":\n', b'{"a":[\n{},', b'{"', b"{ ", b'{"a":"\\', b'{"a":\n{"b":1},\n'])
def test_hostile_input_takes_time_in_proportion_and_bounded_memory(part: bytes) -> None:
    stream = JsonStream(Counter())
    data = part * (400_000 // len(part))
    began = time.process_time()
    for start in range(0, len(data), 4096):
        stream.feed(data[start : start + 4096])
        stream.flush()
        assert stream.pending_bytes() <= 65_536
    assert time.process_time() - began < 10


def test_one_message_ends_with_itself() -> None:
    counts: Counter[str] = Counter()
    assert whole(b'{"a": {"n": 1}', counts) == []
    assert whole(b"", counts) == whole(b"online", counts) == whole(b"12.5", counts) == []
    assert counts == {"bad_json": 1, "noise_bytes": 10}
    assert whole(b'[{"n": 1}, 7, {"n": 2}]', Counter()) == [{"n": 1}, {"n": 2}]


def test_random_bytes_never_raise() -> None:
    chance = random.Random(5)
    stream = JsonStream(Counter())
    for _ in range(300):
        stream.feed(bytes(chance.choice(b'{}[]":,\\\n 01ab\x00\xff') for _ in range(400)))
        stream.flush()
        assert stream.pending_bytes() <= 65_536


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1, 1.0), (-4.5, -4.5), ("21.5", 21.5), (True, None), (None, None), ("", None), ("nan", None), (10**400, None), ([1], None)],
)
def test_a_number_is_finite_or_none(value: object, expected: float | None) -> None:
    assert number(value) == expected
