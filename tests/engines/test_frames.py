"""The compiled frame reader and its Python twin: same results, and the right ones."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from godwit.engines.postgres import frames
from godwit.engines.postgres.frames import KEYED, MULTISET, Plan, compact_python, scan_python

Field = bytes | str | None
UNCHANGED = "u"
SHOP, LOG = 16001, 16002


def row(fields: list[Field]) -> bytes:
    out = struct.pack(">H", len(fields))
    for field in fields:
        if field is None:
            out += b"n"
        elif isinstance(field, str):
            out += b"u"
        else:
            out += b"t" + struct.pack(">I", len(field)) + field
    return out


def frame(message: bytes, lsn: int = 0) -> bytes:
    body = b"w" + struct.pack(">QQQ", lsn, lsn, 0) + message
    return b"d" + struct.pack(">I", len(body) + 4) + body


def keepalive(lsn: int, *, reply: bool) -> bytes:
    body = b"k" + struct.pack(">QQB", lsn, 0, reply)
    return b"d" + struct.pack(">I", len(body) + 4) + body


def begin(xid: int) -> bytes:
    return frame(b"B" + struct.pack(">QQI", 0, 0, xid))


def commit(end: int) -> bytes:
    return frame(b"C\0" + struct.pack(">QQQ", end - 8, end, 1_000_000))


def insert(table: int, new: list[Field]) -> bytes:
    return frame(b"I" + struct.pack(">I", table) + b"N" + row(new))


def update(
    table: int, new: list[Field], old: list[Field] | None = None, kind: bytes = b"K"
) -> bytes:
    before = b"" if old is None else kind + row(old)
    return frame(b"U" + struct.pack(">I", table) + before + b"N" + row(new))


def delete(table: int, old: list[Field], kind: bytes = b"K") -> bytes:
    return frame(b"D" + struct.pack(">I", table) + kind + row(old))


def truncate(*tables: int, options: int = 0) -> bytes:
    return frame(
        b"T" + struct.pack(">IB", len(tables), options) + struct.pack(f">{len(tables)}I", *tables)
    )


TWINS = [compact_python, frames.compact]
both = pytest.mark.parametrize("compact", TWINS, ids=["python", "compiled"])
Compact = Callable[..., tuple[list[object], int]]


def run(compact: Compact, raw: bytes, *, keys: tuple[int, ...] = (0,), **options: object) -> list:
    plans = {SHOP: Plan(KEYED, keys, **options), LOG: Plan(MULTISET)}  # type: ignore[arg-type]
    return compact(raw, plans, lambda _: None, 0, binary=False)[0]


def only(stages: list) -> frames.Rows:
    assert len(stages) == 1
    assert len(stages[0]) == 1
    return stages[0][0]


def test_the_extension_is_built() -> None:
    assert frames.COMPILED, "run `make build`: the compiled reader is missing"


@both
def test_net_changes(compact: Compact) -> None:
    raw = b"".join(
        [
            begin(7),
            insert(SHOP, [b"1", b"a"]),
            update(SHOP, [b"1", b"b"]),
            insert(SHOP, [b"2", b"x"]),
            delete(SHOP, [b"2", None]),
            update(SHOP, [b"3", b"c"]),
            delete(SHOP, [b"4", None]),
            delete(SHOP, [b"5", None]),
            insert(SHOP, [b"5", None]),
            commit(100),
        ]
    )
    rows = only(run(compact, raw))
    assert rows.inserts == (1, b'"1","b"\n')
    assert rows.updates == [((0, 1), 2, b'"3","c"\n"5",\n')]
    assert rows.deletes == (1, b'"4"\n')
    assert rows.cancelled == (1, b'"2"\n')


@both
def test_unchanged_columns_come_from_the_batch_or_stay_unknown(compact: Compact) -> None:
    raw = insert(SHOP, [b"1", b"big", b"x"]) + update(SHOP, [b"1", UNCHANGED, b"y"])
    raw += update(SHOP, [b"2", UNCHANGED, b"z"]) + update(SHOP, [b"3", b"q", b"z"])
    rows = only(run(compact, raw))
    assert rows.inserts == (1, b'"1","big","y"\n')
    assert rows.updates == [((0, 1, 2), 1, b'"3","q","z"\n'), ((0, 2), 1, b'"2","z"\n')]


@both
def test_key_change(compact: Compact) -> None:
    raw = update(SHOP, [b"2", b"v"], [b"1", None])
    rows = only(run(compact, raw))
    assert rows.inserts == (1, b'"2","v"\n')
    assert rows.deletes == (1, b'"1"\n')


@both
def test_key_change_with_unknown_columns_is_a_move_between_stages(compact: Compact) -> None:
    raw = insert(SHOP, [b"9", b"n"]) + update(SHOP, [b"2", UNCHANGED], [b"1", None])
    raw += update(SHOP, [b"2", b"after"])
    stages = run(compact, raw)
    assert [type(s).__name__ for s in stages] == ["list", "Move", "list"]
    assert (stages[1].old, stages[1].columns, stages[1].row) == (b'"1"\n', (0,), b'"2"\n')


@both
def test_toasted_key_is_taken_from_the_key_image(compact: Compact) -> None:
    raw = update(SHOP, [UNCHANGED, b"v"], [b"long key", None])
    assert only(run(compact, raw)).updates == [((0, 1), 1, b'"long key","v"\n')]


@both
def test_full_old_row_completes_the_new_one(compact: Compact) -> None:
    raw = update(SHOP, [b"1", UNCHANGED], [b"1", b"big"], kind=b"O")
    assert only(run(compact, raw)).updates == [((0, 1), 1, b'"1","big"\n')]


@both
def test_tables_without_key_are_counted(compact: Compact) -> None:
    raw = insert(LOG, [b"a"]) + insert(LOG, [b"a"]) + delete(LOG, [b"b"], kind=b"O")
    raw += insert(LOG, [b"c"]) + delete(LOG, [b"c"], kind=b"O")
    raw += update(LOG, [b"e"], [b"d"], kind=b"O")
    rows = only(run(compact, raw))
    assert rows.inserts == (3, b'"a"\n"a"\n"e"\n')
    assert rows.deletes == (2, b'"b"\n"d"\n')


@both
def test_truncate_is_a_barrier(compact: Compact) -> None:
    raw = insert(SHOP, [b"1"]) + truncate(SHOP, LOG, options=3) + insert(SHOP, [b"1"])
    stages = run(compact, raw)
    assert stages[1] == frames.Truncate(3, (SHOP, LOG), 0)
    assert stages[2][0].inserts == (1, b'"1"\n')


@both
def test_serial_tables_have_one_change_a_stage(compact: Compact) -> None:
    raw = insert(SHOP, [b"a"]) + delete(SHOP, [b"A"])
    assert len(run(compact, raw, serial=True)) == 2


@both
def test_transactions_already_seen_are_left_out(compact: Compact) -> None:
    raw = (
        begin(5) + insert(SHOP, [b"1"]) + commit(10) + begin(6) + insert(SHOP, [b"2"]) + commit(20)
    )
    rows = only(run(compact, raw, skip=lambda xid: xid == 5))
    assert rows.inserts == (1, b'"2"\n')


@both
def test_composite_key_in_identity_order(compact: Compact) -> None:
    raw = delete(SHOP, [b"a", None, b"c"])
    assert only(run(compact, raw, keys=(2, 0))).deletes == (1, b'"c","a"\n')


@both
def test_binary_rows_lose_only_their_kind_bytes(compact: Compact) -> None:
    raw = insert(SHOP, [b"\0\0\0\1", None])
    stages, _ = compact(raw, {SHOP: Plan(KEYED, (0,))}, lambda _: None, 0, binary=True)
    value = struct.pack(">H", 2) + struct.pack(">I", 4) + b"\0\0\0\1" + b"\xff\xff\xff\xff"
    assert only(stages).inserts == (1, value)


values = st.one_of(st.none(), st.just(UNCHANGED), st.sampled_from([b"", b'"', b"x", b'a""b\n']))
keys = st.sampled_from([b"1", b"2", b"3"])


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    kind = draw(st.sampled_from("iuuudkmtbc"))
    table = draw(st.sampled_from([SHOP, LOG]))
    known = values.filter(lambda v: v != UNCHANGED)
    full: list[Field] = [draw(keys), draw(known), draw(known)]
    new: list[Field] = [draw(keys), draw(values), draw(values)]
    if kind == "i":
        return insert(table, full)
    if kind == "d":
        return delete(table, full, kind=b"O")
    if kind == "k":
        return update(SHOP, new, [draw(keys), None, None])
    if kind == "m":
        return update(table, new, full, kind=b"O")
    if kind == "t":
        return truncate(table)
    if kind == "b":
        return begin(draw(st.integers(1, 9)))
    return commit(draw(st.integers(8, 99))) if kind == "c" else update(SHOP, new)


@settings(max_examples=300, deadline=None)
@given(st.lists(messages(), max_size=25), st.booleans(), st.booleans(), st.booleans())
def test_twins_agree(stream: list[bytes], binary: bool, serial: bool, skipping: bool) -> None:
    raw = b"".join(stream)
    skip = (lambda xid: xid % 2 == 0) if skipping else None
    plans = {SHOP: Plan(KEYED, (0,), serial, skip), LOG: Plan(MULTISET)}
    results = [twin(raw, plans, lambda _: None, 1, binary=binary) for twin in TWINS]
    assert results[0] == results[1]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(messages(), st.just(keepalive(77, reply=True))), max_size=12), st.data())
def test_scans_agree(stream: list[bytes], data: st.DataObject) -> None:
    raw = b"".join(stream)
    end = data.draw(st.integers(0, len(raw)))
    buffer = bytearray(raw or b"d")
    assert scan_python(buffer, 0, end) == frames.scan(buffer, 0, end)


def test_scan_finds_the_last_commit_and_what_the_server_says() -> None:
    parts = [begin(1), insert(SHOP, [b"1"]), commit(100), keepalive(120, reply=True), begin(2)]
    raw = bytearray(b"".join(parts))
    found = frames.scan(raw, 0, len(raw))
    assert found.cut == len(b"".join(parts[:3]))
    assert (found.end_lsn, found.wal_end, found.reply, found.changes) == (100, 120, True, 1)
    assert found.commits == [946_684_801.0]
