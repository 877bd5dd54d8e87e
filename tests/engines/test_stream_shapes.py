"""Tables that change while they are followed: where the batch ends, what is told, what goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import psycopg
import pytest
from pydantic import TypeAdapter

from godwit.engines import engine_of
from godwit.model.catalog import TableName
from godwit.model.changes import (
    COLUMNS,
    ChangeBatch,
    Format,
    Idle,
    Position,
    ShapeChange,
    TableChanges,
    Truncation,
)
from godwit.model.endpoint import connection_from_text
from godwit.model.mapping import ColumnMapping, TableMapping
from godwit.protocols import ChangeStream, Source, Wanted
from include.demo.servers import Database
from tests.conftest import SOURCE_VERSION

SECONDS = 20.0
NAME = "shapes"


class Followed:
    """Tables of a database, followed from now on."""

    def __init__(self, database: Database, *names: str, format: Format = COLUMNS) -> None:
        here = connection_from_text("source", database.conn_uri)
        self.source: Source = engine_of(here).source(here, {})
        self.names, self.format = names, format
        self.mappings = self.mapped()
        self.start = self.source.open_capture(NAME, [m.source for m in self.mappings])

    def mapped(self) -> list[TableMapping]:
        """The tables as they are now."""
        catalog = self.source.catalog(lambda t: t.schema == "public" and t.name in self.names)
        tables = [catalog.table(TableName("public", name)) for name in self.names]
        return [
            TableMapping(t, t.name, tuple(ColumnMapping(c.name, c.name) for c in t.stored_columns))
            for t in tables
        ]

    @contextmanager
    def stream(
        self,
        start: Position | None = None,
        *,
        marks: Mapping[TableName, str] | None = None,
        batch_bytes: int = 4 << 20,
    ) -> Iterator[ChangeStream]:
        made = self.source.stream(
            NAME,
            start or self.start,
            self.mappings,
            self.format,
            marks or {},
            batch_bytes=batch_bytes,
        )
        try:
            yield made
        finally:
            made.close()

    def drain(self, stream: ChangeStream, wanted: Wanted = Wanted.ANY) -> list[ChangeBatch]:
        """Everything up to the end of the log as it is now."""
        until = self.source.position()
        batches: list[ChangeBatch] = []
        quiet = 0
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            item = stream.read(lambda want=wanted: want)  # type: ignore[misc]
            if isinstance(item, ChangeBatch):
                batches.append(item)
                quiet = 0
                continue
            quiet += 1
            # What is less than a full batch is only handed over when any is wanted.
            wanted = Wanted.ANY if quiet > 5 else wanted
            if isinstance(item, Idle) and item.position.includes(until):
                return batches
        raise AssertionError(f"the stream did not reach {until}")

    def all_batches(
        self, start: Position | None = None, marks: Mapping[TableName, str] | None = None
    ) -> list[ChangeBatch]:
        """A session of its own, drained."""
        with self.stream(start, marks=marks) as stream:
            return self.drain(stream)

    def now(self, start: Position) -> list[ChangeBatch]:
        """What a session from there tells of the tables as they are now."""
        self.mappings = self.mapped()
        return self.all_batches(start)


@pytest.fixture
def db(source_db: Database) -> Database:
    source_db.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text, n int); CREATE TABLE o (id int PRIMARY KEY)"
    )
    return source_db


def shapes(batches: Sequence[ChangeBatch]) -> list[ShapeChange]:
    """The changed shapes; a clean one is the last of its batch, which is final."""
    for batch in batches:
        clean = [isinstance(s, ShapeChange) and s.clean for s in batch.stages]
        assert True not in clean[:-1], "something comes behind a changed shape"
        assert batch.final or True not in clean
    return [s for b in batches for s in b.stages if isinstance(s, ShapeChange)]


def only(batches: Sequence[ChangeBatch]) -> ShapeChange:
    (change,) = shapes(batches)
    return change


def cut_of(batches: Sequence[ChangeBatch]) -> tuple[list[ChangeBatch], list[ChangeBatch]]:
    """The batches up to the first changed shape, and those behind it."""
    for i, batch in enumerate(batches):
        if any(isinstance(s, ShapeChange) for s in batch.stages):
            return list(batches[: i + 1]), list(batches[i + 1 :])
    raise AssertionError("no shape has changed")


def inserted(batches: Sequence[ChangeBatch], name: str) -> list[int]:
    """The ids of rows inserted into a table, in order."""
    return [
        int(row["id"])
        for b in batches
        for s in b.stages
        if isinstance(s, TableChanges) and s.table.name == name and s.inserts is not None
        for row in s.inserts.data.to_pylist()  # type: ignore[union-attr]
    ]


def made(batches: Sequence[ChangeBatch], expected: int) -> bool:
    """So many transactions; before version 15 servers tell those without rows as well."""
    found = sum(b.transactions for b in batches)
    assert found == sum(len(b.commits) for b in batches)
    return found == expected or (SOURCE_VERSION < 15 and found > expected)


def in_one(*statements: str) -> str:
    return "; ".join(("BEGIN", *statements, "COMMIT"))


def run(database: Database, *transactions: str) -> None:
    """In one session, each on its own."""
    with database.connect() as session:
        for statement in transactions:
            session.execute(statement.encode())


@pytest.mark.parametrize(
    ("alter", "description"),
    [
        ("DROP v", "column v was dropped"),
        ("ADD x int DEFAULT 5", "column x was added"),
        ("RENAME v TO w", "column w was added, column v was dropped"),
        ("ALTER n TYPE oid", "column n changed from integer to oid"),
    ],
)
@pytest.mark.parametrize("wanted", [Wanted.ANY, Wanted.FULL])
def test_the_batch_ends_before_the_first_change_in_the_new_shape(
    db: Database, alter: str, description: str, wanted: Wanted
) -> None:
    """Everything before it, nothing after it; and the rest is told by whoever starts there."""
    followed = Followed(db, "t", "o")
    both = "BEGIN; INSERT INTO t (id) VALUES ({0}); INSERT INTO o VALUES ({0}); COMMIT"
    run(
        db,
        *(both.format(number) for number in range(30)),
        f"ALTER TABLE t {alter}",
        "INSERT INTO o VALUES (-1)",
        *(both.format(number) for number in range(30, 60)),
    )
    with followed.stream() as stream:
        before, after = cut_of(followed.drain(stream, wanted))
    change = only([*before, *after])
    assert (change.table, change.description, change.clean, change.grown) == (
        TableName("public", "t"),
        description,
        True,
        False,
    )
    assert inserted(before, "t") == list(range(30))
    assert sorted(inserted(before, "o")) == list(range(-1, 30))
    assert made(before, 31)
    assert sum(b.changes for b in before) == 61
    assert inserted(after, "o") == list(range(30, 60)), "read on, other tables lack nothing"
    assert inserted(after, "t") == []
    assert made(after, 30)
    assert sum(b.changes for b in after) == 60
    again = followed.now(before[-1].position)
    assert shapes(again) == []
    assert inserted(again, "t") == inserted(again, "o") == list(range(30, 60))


def test_definition_and_rows_in_one_transaction(db: Database) -> None:
    followed = Followed(db, "t", "o")
    run(
        db,
        "INSERT INTO t VALUES (1, 'a', 1)",
        in_one(
            "INSERT INTO t VALUES (2, 'a', 1)",
            "INSERT INTO o VALUES (2)",
            "ALTER TABLE t DROP v",
            "INSERT INTO t VALUES (3, 1)",
            "INSERT INTO o VALUES (3)",
        ),
        "INSERT INTO o VALUES (4)",
    )
    before, after = cut_of(followed.all_batches())
    assert only(before).clean
    assert (inserted(before, "t"), inserted(before, "o")) == ([1], [])
    assert (inserted(after, "t"), inserted(after, "o")) == ([], [2, 3, 4])


def test_a_transaction_that_begins_in_the_old_shape_is_told_again(db: Database) -> None:
    """With the new shape in the mapping its first rows are the ones that differ."""
    followed = Followed(db, "t")
    run(
        db,
        in_one(
            "INSERT INTO t VALUES (2, 'a', 1)",
            "ALTER TABLE t DROP v",
            "INSERT INTO t VALUES (3, 1)",
        ),
    )
    (cut,), _ = cut_of(followed.all_batches())
    again = followed.now(cut.position)
    change = only(again)
    assert change.description == "column v was added"
    assert again[0].position == cut.position


def test_a_shape_that_is_told_first_of_all(db: Database) -> None:
    followed = Followed(db, "t", "o")
    run(
        db,
        "ALTER TABLE t DROP v",
        in_one("INSERT INTO o VALUES (1)", "INSERT INTO t VALUES (1, 1)"),
    )
    (cut,), after = cut_of(followed.all_batches())
    assert (cut.final, cut.changes, len(cut.stages)) == (True, 0, 1)
    assert made([cut], 0)
    assert followed.start.includes(cut.position) or SOURCE_VERSION < 15
    assert inserted(after, "o") == [1]
    assert made(after, 1)


def test_a_cut_never_lies_before_what_was_told_as_idle(db: Database) -> None:
    followed = Followed(db, "t", "o")
    with followed.stream() as stream:
        followed.drain(stream)
        run(db, "CREATE TABLE elsewhere (id int)", "INSERT INTO elsewhere VALUES (1)")
        followed.drain(stream)
        idle = followed.source.position()
        run(db, "ALTER TABLE t DROP v", "INSERT INTO t VALUES (1, 1)")
        (cut,), _ = cut_of(followed.drain(stream))
    assert cut.position.includes(idle)
    assert inserted(followed.now(cut.position), "t") == [1]


def test_several_shapes_in_one_buffer(db: Database) -> None:
    db.execute("CREATE TABLE s (id int PRIMARY KEY, v int)")
    followed = Followed(db, "t", "s", "o")
    run(
        db,
        "INSERT INTO o VALUES (1)",
        "ALTER TABLE t DROP v",
        in_one(
            "INSERT INTO s VALUES (1, 1)", "INSERT INTO t VALUES (1, 1)", "INSERT INTO o VALUES (2)"
        ),
        "ALTER TABLE s DROP v",
        "ALTER TABLE t DROP n",
        in_one("INSERT INTO t VALUES (2)", "INSERT INTO s VALUES (2)", "INSERT INTO o VALUES (3)"),
        "ALTER TABLE o RENAME TO p",
        "INSERT INTO p VALUES (4)",
    )
    batches = followed.all_batches()
    assert [c.table.name for c in shapes(batches)] == ["t", "s", "o"]
    assert all(c.clean for c in shapes(batches))
    assert inserted(batches, "o") == [1, 2, 3]
    assert inserted(batches, "s") == [1]
    assert inserted(batches, "t") == []
    cuts = [i + 1 for i, b in enumerate(batches) if shapes([b])]
    told = [(inserted(batches[:i], "o"), inserted(batches[:i], "s")) for i in cuts]
    assert told == [([1], []), ([1, 2], [1]), ([1, 2, 3], [1])]
    assert made(batches, 4)


def test_two_shapes_in_one_transaction(db: Database) -> None:
    db.execute("CREATE TABLE s (id int PRIMARY KEY, v int)")
    followed = Followed(db, "t", "s", "o")
    run(
        db,
        "ALTER TABLE t DROP v",
        "ALTER TABLE s DROP v",
        in_one(
            "INSERT INTO t VALUES (1, 1)", "INSERT INTO s VALUES (1)", "INSERT INTO o VALUES (1)"
        ),
    )
    batches = followed.all_batches()
    first, second = [b for b in batches if shapes([b])]
    assert first.position == second.position
    assert [c.table.name for c in shapes(batches)] == ["t", "s"]
    assert inserted(batches, "o") == [1]


@pytest.mark.parametrize("opened", [True, False], ids=["behind a part", "within the first part"])
def test_in_a_transaction_that_went_in_parts_nothing_can_be_cut(db: Database, opened: bool) -> None:
    followed = Followed(db, "t", "o")
    many = "INSERT INTO o SELECT generate_series({0}, {0} + 4999)"
    run(
        db,
        "ALTER TABLE t DROP v",
        in_one(
            many.format(0) if opened else "SELECT 1",
            "INSERT INTO t VALUES (1, 1)",
            many.format(10_000),
            many.format(20_000),
        ),
        "INSERT INTO o VALUES (-1)",
        "ALTER TABLE o ADD x int",
        "INSERT INTO o VALUES (-2, 1)",
    )
    with followed.stream(batch_bytes=32 << 10) as stream:
        batches = followed.drain(stream, Wanted.FULL)
    assert any(not b.final for b in batches)
    first, second = shapes(batches)
    assert (first.table.name, first.clean) == ("t", not opened)
    assert (second.table.name, second.clean) == ("o", True)
    assert len(inserted(batches, "o")) == (15_001 if opened else 10_001)
    assert inserted(batches, "t") == []
    assert made(batches, 3)
    told = [b for b in batches if b.stages]
    assert told[0].final is not opened


def test_partitions_of_a_table_are_left_out_with_it(source_db: Database) -> None:
    source_db.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);"
        " CREATE TABLE a PARTITION OF t FOR VALUES FROM (0) TO (10);"
        " CREATE TABLE b PARTITION OF t FOR VALUES FROM (10) TO (20);"
        " CREATE TABLE o (id int PRIMARY KEY)"
    )
    followed = Followed(source_db, "t", "o")
    run(
        source_db,
        "INSERT INTO t VALUES (1, 1), (11, 1)",
        "ALTER TABLE t ADD x int",
        "INSERT INTO t VALUES (2, 2, 2)",
        "INSERT INTO t VALUES (12, 2, 2)",
        "TRUNCATE t",
        "INSERT INTO o VALUES (1)",
    )
    before, after = cut_of(followed.all_batches())
    only([*before, *after])
    assert sorted(inserted(before, "t")) == [1, 11]
    assert [type(s) for b in after for s in b.stages] == [TableChanges]
    assert inserted(after, "o") == [1]


def test_the_fastest_format_is_cut_alike(db: Database) -> None:
    followed = Followed(db, "t", "o")
    followed.format = followed.source.change_formats(followed.mappings)[0]
    assert followed.format != COLUMNS
    run(
        db,
        "INSERT INTO o VALUES (1)",
        "ALTER TABLE t ADD x int",
        in_one("INSERT INTO o VALUES (2)", "INSERT INTO t VALUES (1, 'a', 1, 1)"),
    )
    before, after = cut_of(followed.all_batches())
    assert only(before).clean
    assert [(s.table.name, s.inserts.rows) for b in before for s in b.stages[:-1]] == [("o", 1)]  # type: ignore[union-attr]
    assert [(s.table.name, s.inserts.rows) for b in after for s in b.stages] == [("o", 1)]  # type: ignore[union-attr]


# -- marks


def snapshot(database: Database) -> str:
    return str(database.fetch("SELECT pg_current_snapshot()::text")[0][0])


@pytest.mark.parametrize("alter", ["DROP n", "ADD x int", "RENAME v TO w", "ALTER n TYPE bigint"])
def test_how_a_table_looked_before_its_mark_does_not_matter(db: Database, alter: str) -> None:
    followed = Followed(db, "t", "o")
    run(
        db,
        "INSERT INTO t VALUES (1, 'a', 1)",
        "INSERT INTO o VALUES (1)",
        "TRUNCATE t",
        in_one(
            "INSERT INTO t (id) VALUES (2)",
            f"ALTER TABLE t {alter}",
            "INSERT INTO t (id) VALUES (3)",
        ),
        "INSERT INTO o VALUES (2)",
    )
    followed.mappings = followed.mapped()
    marks = {TableName("public", "t"): snapshot(db)}
    run(db, "DELETE FROM t WHERE id = 2", "INSERT INTO t (id) VALUES (5)")
    batches = followed.all_batches(marks=marks)
    assert shapes(batches) == []
    assert inserted(batches, "t") == [5]
    assert inserted(batches, "o") == [1, 2]
    assert not [s for b in batches for s in b.stages if isinstance(s, Truncation)]
    run(db, "ALTER TABLE t ADD y int", "INSERT INTO o VALUES (3)", "INSERT INTO t (id) VALUES (6)")
    before, after = cut_of(followed.all_batches(marks=marks))
    assert only(before).description == "column y was added"
    assert (inserted(before, "t"), inserted(before, "o")) == ([5], [1, 2, 3])
    assert inserted(after, "t") == []


@pytest.mark.parametrize(
    "change",
    [
        "INSERT INTO t VALUES (3, 'a', 1, 1)",
        "UPDATE t SET n = 2",
        "DELETE FROM t",
        "TRUNCATE t",
        "TRUNCATE o, t",
    ],
)
def test_a_shape_told_before_the_mark_matters_behind_it(db: Database, change: str) -> None:
    """Its Relation message comes once: in a transaction that the mark has seen."""
    followed = Followed(db, "t", "o")
    run(db, "ALTER TABLE t ADD x int", "INSERT INTO t VALUES (1, 'a', 1, 1), (2, 'a', 1, 1)")
    marks = {TableName("public", "t"): snapshot(db)}
    run(
        db,
        "INSERT INTO o VALUES (1)",
        in_one("INSERT INTO o VALUES (2)", change, "INSERT INTO o VALUES (3)"),
        "INSERT INTO t VALUES (4, 'a', 1, 1)",
        "INSERT INTO o VALUES (4)",
    )
    before, after = cut_of(followed.all_batches(marks=marks))
    assert only([*before, *after]).description == "column x was added"
    assert (inserted(before, "t"), inserted(before, "o")) == ([], [1])
    assert only(before).clean
    assert inserted(after, "t") == []
    assert inserted(after, "o") == [2, 3, 4]
    emptied = [s.tables for b in after for s in b.stages if isinstance(s, Truncation)]
    assert emptied == ([(TableName("public", "o"),)] if "o, t" in change else [])


def test_behind_a_part_a_marked_table_is_left_out_at_once(db: Database) -> None:
    followed = Followed(db, "t", "o")
    run(db, "ALTER TABLE t ADD x int", "INSERT INTO t VALUES (1, 'a', 1, 1)")
    marks = {TableName("public", "t"): snapshot(db)}
    many = "INSERT INTO o SELECT generate_series({0}, {0} + 4999)"
    run(
        db,
        in_one(many.format(0), "DELETE FROM t", many.format(10_000)),
        "INSERT INTO o VALUES (-1)",
    )
    with followed.stream(marks=marks, batch_bytes=32 << 10) as stream:
        batches = followed.drain(stream, Wanted.FULL)
    assert not only(batches).clean
    assert len(inserted(batches, "o")) == 10_001
    assert [s.deletes for b in batches for s in b.stages if isinstance(s, TableChanges)] == [
        None
    ] * sum(isinstance(s, TableChanges) for b in batches for s in b.stages)


# -- the capture afterwards


def published(database: Database) -> dict[str, list[str]]:
    rows = database.fetch(
        "SELECT pubname, array_agg(tablename::text ORDER BY tablename) FROM pg_publication_tables"
        " GROUP BY 1"
    )
    return dict(rows)


def test_opened_again_the_capture_tells_the_tables_as_they_are(db: Database) -> None:
    followed = Followed(db, "t", "o")
    confirmed = followed.start
    run(
        db,
        "ALTER TABLE t ADD x int",
        "DROP TABLE o",
        "CREATE TABLE o (id int PRIMARY KEY, v int)",
    )
    tables = [m.source for m in followed.mapped()]
    for _ in range(2):
        assert followed.source.open_capture(NAME, tables) == confirmed
        assert published(db) == {f"godwit_{NAME}": ["o", "t"]}
    run(db, "INSERT INTO t VALUES (1, 'a', 1, 1)", "INSERT INTO o VALUES (1, 1)")
    followed.mappings = followed.mapped()
    batches = followed.all_batches()
    assert shapes(batches) == []
    assert [row for b in batches for s in b.stages for row in s.inserts.data.to_pylist()] == [  # type: ignore[union-attr]
        {"id": "1", "v": "a", "n": "1", "x": "1"},
        {"id": "1", "v": "1"},
    ]


def test_updates_of_a_table_that_has_lost_its_key_are_not_refused(db: Database) -> None:
    """The server refuses them while they are to be told and cannot be."""
    followed = Followed(db, "t", "o")
    db.execute("INSERT INTO t VALUES (1, 'a', 1); ALTER TABLE t DROP CONSTRAINT t_pkey")
    with pytest.raises(psycopg.Error, match="replica identity"):
        db.execute("UPDATE t SET n = 2")
    followed.source.open_capture(NAME, [m.source for m in followed.mapped()])
    db.execute("UPDATE t SET n = 2")


def test_columns_have_lasting_numbers(db: Database) -> None:
    followed = Followed(db, "t")
    before = followed.mappings[0].source
    assert [c.number for c in before.columns] == [1, 2, 3]
    run(db, "ALTER TABLE t DROP n", "ALTER TABLE t RENAME v TO n", "ALTER TABLE t ADD v int")
    after = followed.mapped()[0].source
    assert [(c.name, c.number) for c in after.columns] == [("id", 1), ("n", 2), ("v", 4)]
    assert before.columns[0] == after.columns[0]


def test_mappings_of_before_columns_had_numbers_are_read(db: Database) -> None:
    mapping = Followed(db, "t").mappings[0]
    adapter = TypeAdapter(TableMapping)
    stored = adapter.dump_python(mapping, mode="json")
    for column in stored["source"]["columns"]:
        assert column.pop("number")
    read = adapter.validate_python(stored)
    assert read == mapping
    assert read.signature == mapping.signature
    assert {c.number for c in read.source.columns} == {0}
