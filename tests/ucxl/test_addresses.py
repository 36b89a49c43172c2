"""UCXL addresses: what is read, what is refused and where, and that the canonical form is an address."""

import pickle
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurp_leader.errors import AddressError
from slurp_leader.ucxl import (
    ANY_VERSION,
    LATEST,
    MAX_LENGTH,
    Direction,
    Temporal,
    TemporalType,
    UcxlAddress,
    parse,
)

SPECIFIC_7 = Temporal(TemporalType.SPECIFIC, count=7)
THREE_BACK = Temporal(TemporalType.RELATIVE, Direction.BACKWARD, 3)
TWO_ON = Temporal(TemporalType.RELATIVE, Direction.FORWARD, 2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "ucxl://claude:architect@chorus:auth/*^/docs/design.md",
            UcxlAddress("claude", "architect", "chorus", "auth", LATEST, "docs/design.md"),
        ),
        ("ucxl://any:any@bzzz:any/*~", UcxlAddress(project="bzzz", temporal=ANY_VERSION)),
        ("ucxl://g:r@p:t/~~3/pkg/a.go", UcxlAddress("g", "r", "p", "t", THREE_BACK, "pkg/a.go")),
        ("ucxl://g:r@p:t/^^2", UcxlAddress("g", "r", "p", "t", TWO_ON)),
        ("ucxl://g:r@p:t/*~7/a", UcxlAddress("g", "r", "p", "t", SPECIFIC_7, "a")),
        ("ucxl://g:r@p:t/*~007/a", UcxlAddress("g", "r", "p", "t", SPECIFIC_7, "a")),
        ("ucxl://g:r@p:t", UcxlAddress("g", "r", "p", "t")),
        ("ucxl://g:r@p:t/", UcxlAddress("g", "r", "p", "t")),
        ("ucxl://g:r@p:t/*^/", UcxlAddress("g", "r", "p", "t")),
        ("UCXL://G:r@p:t", UcxlAddress("G", "r", "p", "t")),
        ("ucxl://g:r@p:t/*^//a/./b/", UcxlAddress("g", "r", "p", "t", LATEST, "a/b")),
        # the looser forms
        ("ucxl://a:r@p:t/src/x.py", UcxlAddress("a", "r", "p", "t", LATEST, "src/x.py")),
        ("ucxl://example.com/path/to/file", UcxlAddress(project="example.com", path="path/to/file")),
        ("ucxl://example.com", UcxlAddress(project="example.com")),
        ("ucxl://example.com/*~7/x", UcxlAddress(project="example.com", temporal=SPECIFIC_7, path="x")),
    ],
)  # fmt: skip
def test_an_address_is_read_in_the_full_and_in_the_looser_forms(text: str, expected: UcxlAddress) -> None:
    address = parse(text)
    assert address == expected
    assert address.raw == text
    assert parse(str(address)) == address


@pytest.mark.parametrize(
    ("text", "field", "position"),
    [
        ("", "scheme", 0),
        ("http://a:r@p:t", "scheme", 0),
        ("bzzz://a:r@p:t/x", "scheme", 0),
        ("ucxl:/a:r@p:t", "scheme", 0),
        ("ucxl://", "project", 7),
        ("ucxl:///path", "project", 7),
        ("ucxl://gpt4@bzzz/x", "role", 11),
        ("ucxl://a:r@bzzz/x", "task", 15),
        ("ucxl://a:r/x", "project", 10),
        ("ucxl://a b:r@p:t/*^", "agent", 8),
        ("ucxl://a:r.s@p:t/*^", "role", 10),
        ("ucxl://:r@p:t", "agent", 7),
        ("ucxl://a:@p:t", "role", 9),
        ("ucxl://a:r@:t", "project", 11),
        ("ucxl://a:r@p:", "task", 13),
        ("ucxl://a:r@p:t:u/x", "task", 14),
        ("ucxl://a:r@p@q:t/x", "project", 12),
        ("ucxl://a:r@p:ä", "task", 13),
        ("ucxl://a:r@p:t/~~/x", "temporal", 17),
        ("ucxl://a:r@p:t/^^", "temporal", 17),
        ("ucxl://a:r@p:t/*/x", "temporal", 15),
        ("ucxl://a:r@p:t/*~x/x", "temporal", 15),
        ("ucxl://a:r@p:t/~~-1/x", "temporal", 15),
        ("ucxl://a:r@p:t/*~٣/x", "temporal", 15),  # an Arabic digit
        ("ucxl://a:r@p:t/*~99999999999999999999/x", "temporal", 17),
        ("ucxl://a:r@p:t/2026-01-31T12:00:00Z/x", "path", 28),
        ("ucxl://a:r@p:t/*^/a?x=1", "path", 19),
        ("ucxl://a:r@p:t/*^/a#x", "path", 19),
        ("ucxl://a:r@p:t/*^/a b", "path", 19),
        ("ucxl://a:r@p:t/*^/a\nb", "path", 19),
        ("ucxl://a:r@p:t/*^/a\x00", "path", 19),
        ("ucxl://a:r@p:t/*^/a/../b", "path", 20),
        ("ucxl://a:r@p:t/..", "path", 15),
        ("ucxl://a:r@p:t/x/*^/y", "path", 17),
        ("ucxl://a:r@p:t/" + "x" * MAX_LENGTH, "address", MAX_LENGTH),
    ],
)
def test_a_malformed_address_is_refused_with_field_and_position(text: str, field: str, position: int) -> None:
    with pytest.raises(AddressError) as caught:
        parse(text)
    assert (caught.value.field, caught.value.position, caught.value.raw) == (field, position, text)
    assert field in str(caught.value)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.field, again.position, again.raw) == (field, position, text)


@pytest.mark.parametrize("value", [None, 3, b"ucxl://a:r@p:t"])
def test_what_is_not_text_is_refused_as_an_address(value: object) -> None:
    with pytest.raises(AddressError):
        parse(value)  # type: ignore[arg-type]


def test_the_message_shows_only_the_beginning_of_a_long_address() -> None:
    with pytest.raises(AddressError) as caught:
        parse("ucxl://" + "x" * 100_000)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "fields",
    [
        {"agent": ""},
        {"agent": "a:b"},
        {"task": "a/b"},
        {"path": "/a"},
        {"path": "a/../b"},
        {"path": "a?b"},
        {"path": "x" * MAX_LENGTH},
    ],
)
def test_an_address_cannot_be_built_that_could_not_be_read(fields: dict[str, str]) -> None:
    with pytest.raises(AddressError):
        UcxlAddress(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("type_", "direction", "count"),
    [
        (TemporalType.LATEST, None, 1),
        (TemporalType.SPECIFIC, None, None),
        (TemporalType.SPECIFIC, None, -1),
        (TemporalType.RELATIVE, None, 1),
        (TemporalType.RELATIVE, Direction.FORWARD, None),
        (TemporalType.ANY, Direction.FORWARD, None),
    ],
)
def test_a_temporal_segment_without_its_parts_is_refused(
    type_: TemporalType, direction: Direction | None, count: int | None
) -> None:
    with pytest.raises(AddressError):
        Temporal(type_, direction, count)


names = st.text(string.ascii_letters + string.digits + "_-", min_size=1, max_size=20)
projects = st.text(string.ascii_letters + string.digits + "_-.", min_size=1, max_size=20)
segments = st.text(string.ascii_letters + string.digits + "_-.", min_size=1, max_size=12)
paths = st.lists(segments.filter(lambda one: one not in (".", "..")), max_size=5).map("/".join)
counts = st.integers(0, 2**63 - 1)
temporals = st.one_of(
    st.just(LATEST),
    st.just(ANY_VERSION),
    counts.map(lambda count: Temporal(TemporalType.SPECIFIC, count=count)),
    st.builds(Temporal, st.just(TemporalType.RELATIVE), st.sampled_from(Direction), counts),
)
addresses = st.builds(UcxlAddress, names, names, projects, names, temporals, paths)


@given(addresses)
def test_reading_the_canonical_form_gives_the_same_address(address: UcxlAddress) -> None:
    again = parse(str(address))
    assert again == address
    assert str(again) == str(address) == again.raw
    assert hash(again) == hash(address)


@given(st.text(max_size=80) | st.text("ucxl:/@*^~any.0-", max_size=60).map("ucxl://".__add__))
def test_any_text_gives_an_address_or_an_address_error_inside_the_text(text: str) -> None:
    refused: AddressError | None = None
    try:
        assert parse(str(parse(text))) == parse(text)
    except AddressError as error:
        refused = error
    assert refused is None or 0 <= refused.position <= len(refused.raw) == len(text)


@given(addresses, addresses)
def test_matching_does_not_depend_on_the_order(one: UcxlAddress, other: UcxlAddress) -> None:
    assert one.matches(one)
    assert one.matches(other) == other.matches(one)
    assert UcxlAddress(temporal=ANY_VERSION).matches(one)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("ucxl://a:r@p:t/*^/x", "ucxl://any:any@p:any/*^/x", True),
        ("ucxl://a:r@p:t/*^/x", "ucxl://any:any@q:any/*^/x", False),
        ("ucxl://a:r@p:t/*^/x", "ucxl://a:r@p:t/*^/y", False),
        ("ucxl://a:r@p:t/*^/x", "ucxl://a:r@p:t", True),
        ("ucxl://a:r@p:t/*~7/x", "ucxl://a:r@p:t/*^/x", False),
        ("ucxl://a:r@p:t/*~7/x", "ucxl://a:r@p:t/*~/x", True),
        ("ucxl://A:r@p:t", "ucxl://a:r@p:t", False),
    ],
)
def test_addresses_match_where_every_part_is_equal_or_a_wildcard(one: str, other: str, same: bool) -> None:
    assert parse(one).matches(parse(other)) is same


def test_case_is_ignored_only_when_asked() -> None:
    assert parse("ucxl://A:r@p:t").matches(parse("ucxl://a:r@p:t"), ignore_case=True)


def test_an_exact_address_has_no_wildcard() -> None:
    assert parse("ucxl://a:r@p:t/*^/x").is_exact
    assert not parse("ucxl://a:r@p:t/*~/x").is_exact
    assert not parse("ucxl://example.com/x").is_exact


def test_the_parsed_parts_have_the_names_of_the_go_parser() -> None:
    assert parse("ucxl://a:r@p:t/~~3/x").to_wire() == {
        "agent": "a",
        "role": "r",
        "project": "p",
        "task": "t",
        "temporal_segment": {"type": "relative", "direction": "backward", "count": 3},
        "path": "x",
        "raw": "ucxl://a:r@p:t/~~3/x",
    }
