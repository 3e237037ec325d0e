"""The two parsers of JSON: of a large text both find the same values, or the same mistake."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigrun.concurrency.pace import keep_on
from sigrun.errors import InvalidArgument
from sigrun.tensors.signature import DType
from sigrun.wire.json import document, lists, slices, syntax
from tests.fuzzing import rounds
from tests.unit.wire.rest.test_predict_body import bodies_to_try, outcome, signature_of


def plain(value: Any) -> Any:
    """Return `value` with Python lists for the large ones."""
    if lists.is_list(value):
        return [plain(element) for element in value]
    if isinstance(value, dict):
        return {key: plain(element) for key, element in value.items()}
    return value


def parsed(text: bytes) -> str:
    try:
        return repr(plain(document.read_values(text, keep_on)))
    except InvalidArgument as error:
        return f"error: {error}"


WINDOWS = ((8, 16), (24, 24), (64, 512))  # bytes


def assert_agreement(text: bytes, *dtypes: DType) -> None:
    """Compare values and texts, those of predict too, with slices of a few elements."""
    wanted = signature_of(*(dtypes or (DType.STRING,)))
    exact, inputs = parsed(text), outcome(text, wanted)
    for slice_bytes, kinds in zip(WINDOWS, bodies_to_try(text), strict=True):
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr(document, "_SLICED_BODY_BYTES", 0)
            monkeypatch.setattr(slices, "_WINDOWS", slice_bytes)
            assert parsed(text) == exact
            for same in kinds:
                assert outcome(same, wanted) == inputs


LONG = b'"a long text, with [brackets] and {braces}, \\"quoted\\" \\\\"'
TEXTS = [
    b'{"instances": [%s, %s]}' % (LONG, LONG),
    b'{"instances": ["a", "bc", "\\\\", "\\"", "\xc3\xa4\xf0\x9f\x98\x80", "[", "\\u00e4"]}',
    b'{"instances": [{"b64": "AAAA"}, {"b64": "QUJD"}, {"b64": "QQ=="}, {"b64": "Q"}]}',
    b'{"instances": [{"x": ["a", "b"], "y": 1.5}, {"y": 2.5, "x": ["c", "d"]}, {"x": [], "y": 1}]}',
    b'{"inputs": {"x": [["a", "b"], ["c", "d"], ["e"]], "y": [1.5, 2.5, null]}}',
    b'{"inputs": {"b64": "QUJDQUJDQUJDQUJDQUJDQUJDQUJDQUJD"}, "signature_name": "name"}',
    b'{"inputs": [[[1, 2], [3, 4]], [[5, 6], [7, 8]]], "inputs": ["other", "and", "more"]}',
    b'{"instances": [1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5, 9.5, null]}',
    b'{"instances": [[1.5, 2.5], [3.5, 4.5], [5.5, 6.5], [7.5]]}',
    b'{"instances": [1, 99999999999999999999, 2, 3, 4, 5, NaN, -Inf, "NaN", Infinity, 6]}',
    b'{"instances": [true, false, true, false, true, false, true, null]}',
    b' {"instances" : [ "a" , "b" ]\n, "more" : { "k" : [ ] , "l" : { } } } \n',
    b'{"instances": ["a", "b", "c", "d"], "more": [[], [[]], {}, {"a": {}}, ""]} trailing "',
    b'{"instances": ["a", "b", "c", "d", "\xff", "e"]}',
    b'{"instances": ["a", "b", "c", "d", "\\ud800", "e"]}',
    b'{"instances": [],                             "other": []}',
    b'{"instances": [                                     ]}',
    b'{"instances": [1,                                     ]}',
    b'{"instances": [' + b"7" * 700 + b', "a"]}',
    b'{"instances": ["a", "b", "c", "d", ' + b"[" * 90 + b"]" * 90 + b"]}",
    b'\xef\xbb\xbf{"instances": ["a", "b", "c", "d", "e", "f", "g", "h"]}',
    b'["a", "b", "c", "d", "e", "f", "g", "h"]',
    b'"a text and nothing else, that is long"',
    b'{"inputs": ["a", "b", "c"], "instances": ["d", "e", "f"]}',
    b'{"signature_name": ["a", "b", "c", "d", "e", "f"], "inputs": "a"}',
]


@pytest.mark.parametrize("text", TEXTS)
def test_they_agree_on_what_is_curious(text: bytes) -> None:
    assert_agreement(text)
    assert_agreement(text, DType.FLOAT)
    assert_agreement(text, DType.STRING, DType.FLOAT)


@pytest.mark.parametrize("text", TEXTS)
def test_they_agree_wherever_a_text_is_cut_off(text: bytes) -> None:
    for stop in range(0, min(len(text), 120), 11):
        assert_agreement(text[:stop])


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=8), st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=20,
)
ROWS = st.lists(VALUES, min_size=1, max_size=8)


@given(
    rows=ROWS,
    key=st.sampled_from(["instances", "inputs", "x"]),
    indent=st.sampled_from([None, 1]),
    as_ascii=st.booleans(),
)
def test_they_agree(rows: list[Any], key: str, indent: int | None, as_ascii: bool) -> None:
    text = json.dumps({"first": 1, key: rows}, indent=indent, ensure_ascii=as_ascii)
    assert_agreement(text.encode(errors="replace"))


def test_they_agree_on_texts_with_mistakes() -> None:
    chance = random.Random(7)
    alphabet = b'0123456789[],:{} .eE-+"\\NaInfinitytrue\n\x00\xff'
    for text in itertools.islice(itertools.cycle(TEXTS), rounds(150)):
        wrong = bytearray(text)
        for _ in range(chance.randint(1, 2)):
            place = chance.randrange(len(wrong))
            inserted = bytes(chance.choices(alphabet, k=chance.randint(0, 2)))
            wrong[place : place + chance.randint(0, 2)] = inserted

        assert_agreement(bytes(wrong))


def test_a_large_text_is_read_in_slices_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"x": [str(index), "b"], "y": index / 2} for index in range(20_000)]
    text = json.dumps({"instances": rows}).encode()
    read: list[int] = []
    loads = orjson.loads

    def watched(text: bytes) -> Any:
        read.append(len(text))
        return loads(text)

    monkeypatch.setattr(orjson, "loads", watched)

    value = slices.parse(text, keep_on)

    assert plain(value) == {"instances": rows}
    assert max(read) <= 64 * 1024


def test_a_mistake_at_the_end_of_a_large_text_is_found_where_it_is() -> None:
    text = b'{"instances": ["' + b'a", "' * 200_000 + b'b"], 1.5}'

    with pytest.raises(InvalidArgument) as plainly:
        syntax.parse(text)
    with pytest.raises(InvalidArgument) as in_slices:
        slices.parse(text, keep_on)

    assert str(in_slices.value) == str(plainly.value)


@pytest.mark.parametrize("opening", [b"[", b'{"a":'], ids=["arrays", "objects"])
def test_large_values_nested_beyond_all_sense_are_refused(opening: bytes) -> None:
    long = b'"' + b"a" * 300_000 + b'"'
    deep = b'{"inputs": ' + opening * 200 + long

    with pytest.raises(InvalidArgument, match="nested too deep"):
        slices.parse(deep, keep_on)


@pytest.mark.parametrize(
    "item",
    [b" " * 600_000 + b"7", b"0." + b"7" * 600_000, b'"' + b"a" * 600_000 + b'"'],
    ids=["white space", "digits", "a string"],
)
def test_one_item_may_be_larger_than_any_slice(item: bytes) -> None:
    text = b'{"inputs": [1, %s, 2], "more": {"a": %s, "b": %s}}' % (item, item, item)

    assert plain(slices.parse(text, keep_on)) == syntax.parse(text)


def test_a_string_that_never_ends_is_refused_where_it_begins() -> None:
    text = b'{"inputs": ["a", "' + b"b" * 6_000_000

    with pytest.raises(InvalidArgument, match=r"^JSON Parse error: .* at offset: 1[0-9]$"):
        slices.parse(text, keep_on)


def test_the_gil_is_offered_between_slices() -> None:
    text = json.dumps({"inputs": ["text"] * 300_000}).encode()
    paces: list[None] = []

    value = slices.parse(text, lambda: paces.append(None))
    proving = len(paces)
    for _ in value["inputs"].parts(lambda: paces.append(None)):
        pass

    assert proving > len(text) / (64 * 1024)
    assert len(paces) - proving > len(text) / (64 * 1024)
