"""Positions: sets with gaps, several servers and tags, domains, files."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from godwit.engines.mysql.gtid import (
    DomainPosition,
    Domains,
    FilePosition,
    GtidPosition,
    GtidSet,
    LogPoint,
    parse_position,
)
from include.demo.mysql_servers import MySqlServer

UUIDS = ("3e11fa47-71ca-11e1-9e33-c80aa9429562", "8a94f357-aab4-11df-86ab-c80aa9429562")
NAMES = st.tuples(
    st.sampled_from(UUIDS), st.sampled_from(["", "backup", "_x1"]), st.integers(1, 30)
)
MEMBERS = st.sets(NAMES, max_size=40)
POINTS = st.builds(
    LogPoint, st.integers(1, 10**7), st.integers(4, 1 << 40), st.sampled_from(["binlog", "a.b-1"])
)
LASTS = st.dictionaries(
    st.integers(0, 5), st.tuples(st.integers(1, 1 << 32), st.integers(1, 1 << 62)), max_size=4
)


def set_of(members: set[tuple[str, str, int]]) -> GtidSet:
    made = GtidSet()
    for uuid, tag, number in members:
        made.add(uuid, tag, number)
    return made


def members_of(gtids: GtidSet) -> set[tuple[str, str, int]]:
    return {(u, t, n) for u, t, first, last in gtids for n in range(first, last + 1)}


@given(MEMBERS, MEMBERS)
def test_a_set_behaves_like_a_set(
    left: set[tuple[str, str, int]], right: set[tuple[str, str, int]]
) -> None:
    a, b = set_of(left), set_of(right)
    assert members_of(a) == left
    assert members_of(a.minus(b)) == left - right
    assert a.includes(b) == (right <= left)
    assert all(a.contains(*name) == (name in left) for name in left | right)
    assert GtidSet.parse(str(a)) == a
    both = a.copy()
    both.update(b)
    assert members_of(both) == left | right
    assert members_of(a) == left


def test_the_text_is_the_servers() -> None:
    text = f"{UUIDS[0]}:1-5:7:backup:1-3,\n{UUIDS[1]}:2"
    gtids = GtidSet.parse(text)
    assert str(gtids) == text.replace("\n", "")
    assert gtids.contains(UUIDS[0], "backup", 3)
    assert not gtids.contains(UUIDS[0], "", 6)


@pytest.mark.parametrize("text", ["x:1", UUIDS[0], f"{UUIDS[0]}:0", f"{UUIDS[0]}:a-b", "binlog:4"])
def test_what_is_no_set_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a GTID set"):
        GtidSet.parse(text)


def test_a_set_on_the_wire() -> None:
    plain = GtidSet.parse(f"{UUIDS[0]}:1-5").encoded()
    raw = bytes.fromhex(UUIDS[0].replace("-", ""))
    assert plain == struct.pack("<Q", 1) + raw + struct.pack("<QQQ", 1, 1, 6)
    assert GtidSet().encoded() == bytes(8)
    tagged = GtidSet.parse(f"{UUIDS[0]}:1:tag:2").encoded()
    assert tagged[:8] == bytes([1, 2, 0, 0, 0, 0, 0, 1])


@pytest.mark.matrix
@given(left=MEMBERS, right=MEMBERS)
def test_the_server_agrees(
    mysql97: MySqlServer, left: set[tuple[str, str, int]], right: set[tuple[str, str, int]]
) -> None:
    a, b = set_of(left), set_of(right)
    with mysql97.connect() as session, session.cursor() as cursor:
        cursor.execute(
            "SELECT GTID_SUBSET(%s, %s), GTID_SUBTRACT(%s, %s)", (str(b), str(a), str(a), str(b))
        )
        ((subset, rest),) = cursor.fetchall()
    assert bool(subset) == a.includes(b)
    assert GtidSet.parse(rest) == a.minus(b)


@given(POINTS, st.none() | POINTS)
def test_file_positions_round_trip(point: LogPoint, resume: LogPoint | None) -> None:
    position = FilePosition(point, resume)
    again = parse_position(str(position))
    assert again == position
    assert str(again) == str(position)


@given(MEMBERS, MEMBERS, st.none() | POINTS)
def test_gtid_positions_round_trip(
    members: set[tuple[str, str, int]], held: set[tuple[str, str, int]], at: LogPoint | None
) -> None:
    position = GtidPosition(set_of(members | held), at, set_of(held))
    again = parse_position(str(position))
    assert again == position
    assert str(again) == str(position)


@given(LASTS, st.none() | LASTS, st.none() | POINTS)
def test_domain_positions_round_trip(
    last: dict[int, tuple[int, int]],
    resume: dict[int, tuple[int, int]] | None,
    at: LogPoint | None,
) -> None:
    position = DomainPosition(Domains(last), at, None if resume is None else Domains(resume))
    again = parse_position(str(position))
    assert again == position
    assert str(again) == str(position)


@given(MEMBERS, MEMBERS, MEMBERS)
def test_including_is_a_partial_order(
    left: set[tuple[str, str, int]],
    middle: set[tuple[str, str, int]],
    right: set[tuple[str, str, int]],
) -> None:
    a, b, c = (GtidPosition(set_of(m)) for m in (left | middle | right, middle | right, right))
    assert a.includes(b)
    assert b.includes(c)
    assert a.includes(c)
    assert a.includes(a)
    if a.includes(b) and b.includes(a):
        assert a == b


def test_files_are_compared_as_numbers() -> None:
    last, first = LogPoint.parse("binlog.999999:900"), LogPoint.parse("binlog.1000000:4")
    assert FilePosition(first).includes(FilePosition(last))
    assert not FilePosition(last).includes(FilePosition(first))
    assert first.file == "binlog.1000000"
    assert LogPoint(7, 4).file == "binlog.000007"


def test_offsets_have_64_bits() -> None:
    low, high = (
        LogPoint.parse("binlog.000001:4294967295"),
        LogPoint.parse("binlog.000001:4294967300"),
    )
    assert FilePosition(high).includes(FilePosition(low))


def test_positions_of_different_kinds_are_not_comparable() -> None:
    file = FilePosition(LogPoint(1, 4))
    gtid = GtidPosition(GtidSet())
    domains = DomainPosition(Domains({}))
    for one in (file, gtid, domains):
        assert [one.includes(other) for other in (file, gtid, domains)].count(True) == 1


def test_domains_are_all_looked_at() -> None:
    a, b = Domains.parse("0-1-5,1-2-7"), Domains.parse("0-9-5")
    assert a.includes(b)
    assert not b.includes(a)
    assert not Domains.parse("0-1-4,1-2-9").includes(b)


@pytest.mark.parametrize("text", ["", "0/16B3748", "file:x", "gtid:x", "domains:0-1"])
def test_other_texts_are_no_positions(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever it says
        parse_position(text)
