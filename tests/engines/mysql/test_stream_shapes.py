"""Tables that change while they are followed: where the batch ends, what is told, what goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from godwit.engines.mysql.capture import current_position
from godwit.engines.mysql.gtid import LogPosition, parse_position
from godwit.model.catalog import TableName
from godwit.model.changes import ChangeBatch, ShapeChange, TableChanges, Truncation
from godwit.protocols import Wanted
from include.demo.mysql_servers import MySqlDatabase, MySqlServer
from tests.engines.mysql.reading import mapping_of, table_of
from tests.engines.mysql.streaming import Followed, Replica, rows_of

FLAVOURS = ["mariadb", pytest.param("mysql97", marks=pytest.mark.matrix)]


@pytest.fixture(params=FLAVOURS)
def source(request: pytest.FixtureRequest) -> Iterator[MySqlDatabase]:
    server: MySqlServer = request.getfixturevalue(request.param)
    with server.create_database() as database:
        yield database


@pytest.fixture
def table(source: MySqlDatabase) -> MySqlDatabase:
    source.execute("CREATE TABLE t (id int PRIMARY KEY, v varchar(40), n int)")
    return source


@contextmanager
def unnamed(source: MySqlDatabase) -> Iterator[None]:
    """The log does not tell the columns' names."""
    before = source.fetch("SELECT @@global.binlog_row_metadata")[0][0]
    least = "NO_LOG" if source.server.mariadb else "MINIMAL"
    source.execute(f"SET GLOBAL binlog_row_metadata = {least}")
    try:
        yield
    finally:
        source.execute(f"SET GLOBAL binlog_row_metadata = {before}")


def run(source: MySqlDatabase, *statements: str) -> None:
    """In one session."""
    with source.connect() as session, session.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def shapes(batches: Sequence[ChangeBatch]) -> list[ShapeChange]:
    """The changed shapes; a clean one is the last of its batch."""
    found = [s for b in batches for s in b.stages if isinstance(s, ShapeChange)]
    for batch in batches:
        clean = [isinstance(s, ShapeChange) and s.clean for s in batch.stages]
        assert clean == sorted(clean), "something comes behind a changed shape"
        assert batch.final or True not in clean
    return found


#: Told of statements of which the catalog shows nothing any more; who likes may read on.
ALTERED = "its columns were altered"


def only(batches: Sequence[ChangeBatch]) -> ShapeChange:
    (change,) = (c for c in shapes(batches) if c.description != ALTERED)
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
        row["id"]
        for b in batches
        for s in b.stages
        if isinstance(s, TableChanges) and s.table.name == name
        for row in rows_of(s.inserts)
    ]


# -- what is told


@pytest.mark.parametrize(
    ("alter", "description"),
    [
        ("DROP v", "column v was dropped"),
        ("DROP v, ADD v varchar(40)", "column v was dropped"),
        ("RENAME COLUMN v TO w", "column v was renamed to w"),
        ("CHANGE v V varchar(40)", "column v was renamed to V"),
        ("MODIFY v varchar(20)", "column v changed from varchar(40) to varchar(20)"),
        ("MODIFY v varchar(80)", "column v changed from varchar(40) to varchar(80)"),
        ("MODIFY v int", "column v changed from varchar(40) to int"),
        ("CHANGE v v text", "column v changed from varchar(40) to text"),
        ("MODIFY n smallint", "to smallint"),
        ("MODIFY n int unsigned", "unsigned"),
        ("MODIFY n bigint, ADD x int", "column x was added, column n changed from int"),
        ("DROP n, ADD n int AS (id + 1)", "column n was dropped"),
        ("RENAME TO u", "it was renamed to"),
    ],
)
def test_changed_shapes_are_told(table: MySqlDatabase, alter: str, description: str) -> None:
    followed = Followed(table, "t")
    table.execute(f"ALTER TABLE t {alter}")
    name = "u" if alter == "RENAME TO u" else "t"
    table.execute(f"INSERT INTO {name} (id) VALUES (1)")
    batches = followed.all_batches()
    change = only(batches)
    assert description in change.description
    assert (change.table, change.clean, change.grown) == (
        followed.mappings[0].source.name,
        True,
        False,
    )
    assert inserted(batches, "t") == [], "the table is left out from there"


@pytest.mark.parametrize(
    ("alter", "parts"),
    [
        ("ADD x int", ["x"]),
        ("ADD x int FIRST, ADD COLUMN (y int, `a,b` text), ADD INDEX (n)", ["x", "y", "a,b"]),
        ("ADD x int AS (id + 1)", ["x"]),
    ],
)
def test_columns_that_were_added_are_told_and_the_table_goes_on(
    table: MySqlDatabase, alter: str, parts: list[str]
) -> None:
    followed = Followed(table, "t")
    table.execute("INSERT INTO t VALUES (1, 'a', 1)")
    table.execute(f"ALTER TABLE t {alter}")
    table.execute("INSERT INTO t (id, v, n) VALUES (2, 'b', 2)")
    table.execute("ALTER TABLE t MODIFY n int COMMENT 'a number'")
    table.execute("UPDATE t SET n = 9 WHERE id = 1")
    batches = followed.all_batches()
    change = only(batches)
    assert (
        sorted(change.description.split(" was added, "))
        == sorted(
            [
                *(f"column {c}" for c in change_names(change)[:-1]),
                change.description.split(", ")[-1],
            ]
        )
        or len(parts) == 1
    )
    assert set(change_names(change)) == set(parts)
    assert (change.clean, change.grown) == (True, True)
    assert Replica(followed.mappings[0]).apply(batches)() == followed.rows_now()


def change_names(change: ShapeChange) -> list[str]:
    """The columns that were added, when that is all it tells."""
    assert change.description.endswith(" was added")
    parts = change.description.removesuffix(" was added").split(" was added, ")
    assert all(part.startswith("column ") for part in parts)
    return [part.removeprefix("column ") for part in parts]


@pytest.mark.parametrize(
    "alter",
    ["ADD INDEX (n)", "FORCE", "AUTO_INCREMENT = 5", "COMMENT 'DROP v'", "ALTER v SET DEFAULT 'x'",
     "MODIFY n int NOT NULL DEFAULT 3 COMMENT 'n'", "DEFAULT CHARSET latin1", "ADD CHECK (n > 0)",
     "CONVERT TO CHARACTER SET latin1", "ADD CONSTRAINT u UNIQUE (id, v), ALGORITHM = INPLACE",
     "PARTITION BY HASH (id) PARTITIONS 3"],
)  # fmt: skip
def test_what_leaves_the_columns_alone_goes_on(table: MySqlDatabase, alter: str) -> None:
    followed = Followed(table, "t")
    table.execute("INSERT INTO t VALUES (1, 'é', 1)")
    table.execute(f"ALTER TABLE t {alter}")
    table.execute("INSERT INTO t (id, v, n) VALUES (2, 'é', 2)")
    batches = followed.all_batches()
    columns = alter.startswith(("ALTER", "MODIFY", "CONVERT"))
    assert [(c.description, c.grown) for c in shapes(batches)] == [(ALTERED, True)] * columns
    assert Replica(followed.mappings[0]).apply(batches)() == followed.rows_now()


def test_a_change_is_told_at_its_own_statement(table: MySqlDatabase) -> None:
    """The catalog is ahead of the log: an earlier ALTER that touches no column tells nothing."""
    followed = Followed(table, "t")
    run(
        table,
        "ALTER TABLE t ADD INDEX (n)",
        "INSERT INTO t VALUES (1, 'a', 1)",
        "ALTER TABLE t MODIFY n bigint",
        "INSERT INTO t VALUES (2, 'a', 1)",
    )
    before, after = cut_of(followed.all_batches())
    assert (inserted(before, "t"), inserted(after, "t")) == ([1], [])


@pytest.mark.parametrize(
    ("alter", "renamed"),
    [
        ("RENAME COLUMN v TO w", {("v", "w")}),
        ("CHANGE COLUMN `V` `a,b` varchar(40), DROP n", {("v", "a,b")}),
        ("RENAME COLUMN v TO n, RENAME COLUMN n TO v", {("v", "n"), ("n", "v")}),
        ("CHANGE v n varchar(40), CHANGE n v int", {("v", "n"), ("n", "v")}),
        ("RENAME COLUMN n TO m, ADD n int", {("n", "m")}),
    ],
)
def test_names_of_renamed_columns_are_told(
    table: MySqlDatabase, alter: str, renamed: set[tuple[str, str]]
) -> None:
    followed = Followed(table, "t")
    table.execute("INSERT INTO t VALUES (1, 'a', 1)")
    table.execute(f"ALTER TABLE t {alter}")
    change = only(followed.all_batches())
    assert set(change.renamed) == renamed
    assert (change.clean, change.grown) == (True, False)


def test_columns_nobody_wants_may_go(table: MySqlDatabase) -> None:
    followed = Followed(table, "t", columns=["id", "n"])
    run(
        table,
        "INSERT INTO t VALUES (1, 'a', 1)",
        "ALTER TABLE t MODIFY v text",
        "ALTER TABLE t DROP v",
        "UPDATE t SET n = 2",
    )
    batches = followed.all_batches()
    assert shapes(batches) == []
    assert Replica(followed.mappings[0]).apply(batches)() == followed.rows_now()


def test_what_is_computed_may_change(source: MySqlDatabase) -> None:
    source.execute("CREATE TABLE t (id int PRIMARY KEY, g int AS (id + 1))")
    followed = Followed(source, "t")
    run(source, "ALTER TABLE t MODIFY g int AS (id + 2)", "INSERT INTO t (id) VALUES (1)")
    batches = followed.all_batches()
    assert only(batches).description == "column g is computed in another way"
    assert only(batches).grown
    assert inserted(batches, "t") == [1]


def test_labels_are_those_of_the_event(source: MySqlDatabase) -> None:
    source.execute("CREATE TABLE t (id int PRIMARY KEY, e enum('a','b','c'), s set('x','y'))")
    followed = Followed(source, "t")
    run(
        source,
        "INSERT INTO t VALUES (1, 'a', 'x,y')",
        "ALTER TABLE t MODIFY e enum('c','b','a','d'), MODIFY s set('y','x')",
        "INSERT INTO t VALUES (2, 'a', 'x'), (3, 'c', 'y')",
        # So that the catalog tells nothing.
        "ALTER TABLE t MODIFY e enum('a','b','c'), MODIFY s set('x','y')",
    )
    batches = followed.all_batches()
    assert [(c.description, c.grown) for c in shapes(batches)] == [(ALTERED, True)] * 2
    rows = [
        row
        for b in batches
        for s in b.stages
        if isinstance(s, TableChanges)
        for row in rows_of(s.inserts)
    ]
    assert [(r["id"], r["e"]) for r in rows] == [(1, "a"), (2, "a"), (3, "c")]
    assert [r["s"] for r in rows] == ["x,y", "x", "y"]


def test_a_label_that_went_is_told(source: MySqlDatabase) -> None:
    source.execute("CREATE TABLE t (id int PRIMARY KEY, e enum('a','b'))")
    followed = Followed(source, "t")
    run(
        source,
        "ALTER TABLE t MODIFY e enum('a')",
        "INSERT INTO t VALUES (1, 'a')",
        "ALTER TABLE t MODIFY e enum('a','b')",
    )
    assert "enum without 'b'" in only(followed.all_batches()).description


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        (["DROP TABLE t"], "it was dropped"),
        (["RENAME TABLE t TO old"], "it was renamed to"),
        (["RENAME TABLE t TO old, other TO t"], "it was replaced by"),
        (["ALTER TABLE t RENAME AS other2"], "it was renamed to"),
    ],
)
def test_a_table_that_went_is_told(
    table: MySqlDatabase, statements: list[str], expected: str
) -> None:
    table.execute("CREATE TABLE other LIKE t")
    followed = Followed(table, "t")
    run(table, *statements)
    change = only(followed.all_batches())
    assert change.description.startswith(expected)
    assert change.clean


@pytest.mark.parametrize(("shadow", "old"), [("_t_gho", "_t_del"), ("_t_new", "_t_old")])
@pytest.mark.parametrize(
    ("alter", "description"),
    [
        ("ENGINE = InnoDB", ""),
        ("ADD x int", "column x was added"),
        ("MODIFY n bigint", "column n changed from"),
    ],
)
def test_online_schema_changes(
    table: MySqlDatabase, shadow: str, old: str, alter: str, description: str
) -> None:
    followed = Followed(table, "t")
    run(
        table,
        "INSERT INTO t VALUES (1, 'a', 1)",
        f"CREATE TABLE {shadow} LIKE t",
        f"ALTER TABLE {shadow} {alter}",
        f"INSERT INTO {shadow} (id, v, n) SELECT id, v, n FROM t",
        f"RENAME TABLE t TO {old}, {shadow} TO t",
        "INSERT INTO t (id, v, n) VALUES (2, 'b', 2)",
        f"DROP TABLE {old}",
    )
    batches = followed.all_batches()
    if not description:
        assert shapes(batches) == []
        assert inserted(batches, "t") == [1, 2]
        return
    assert only(batches).description.startswith(description)
    before, after = cut_of(batches)
    assert inserted(before, "t") == [1]
    assert inserted(after, "t") == ([2] if only(batches).grown else [])
    assert inserted(now(followed, before[-1].position), "t") == [2]


def now(followed: Followed, start: LogPosition) -> list[ChangeBatch]:
    """What a session from there tells of the tables as they are now."""
    names = [m.source.name.name for m in followed.mappings]
    followed.mappings = [mapping_of(table_of(followed.connector, name)) for name in names]
    return followed.all_batches(start)


def test_partitions_that_were_emptied_are_told(source: MySqlDatabase) -> None:
    source.execute(
        "CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id)"
        " (PARTITION a VALUES LESS THAN (10), PARTITION b VALUES LESS THAN MAXVALUE)"
    )
    followed = Followed(source, "t")
    run(source, "INSERT INTO t VALUES (1), (20)", "ALTER TABLE t TRUNCATE PARTITION a")
    (batch,) = followed.all_batches()
    changes, shape = batch.stages
    assert isinstance(changes, TableChanges)
    assert isinstance(shape, ShapeChange)
    assert shape.description == "a partition was truncated"


# -- where the batch ends


@pytest.mark.parametrize("positions", ["auto", "file"])
@pytest.mark.parametrize("wanted", [Wanted.ANY, Wanted.FULL])
@pytest.mark.parametrize("alter", ["DROP v", "MODIFY n bigint", "ADD x int"])
def test_the_batch_ends_behind_the_statement(
    table: MySqlDatabase, positions: str, wanted: Wanted, alter: str
) -> None:
    """Everything before it, nothing after it; and the rest is told by whoever starts there."""
    table.execute("CREATE TABLE o (id int PRIMARY KEY, v varchar(40))")
    followed = Followed(table, "t", "o", positions=positions)
    both = ["BEGIN", "INSERT INTO t (id) VALUES ({0})", "INSERT INTO o VALUES ({0}, 'x')", "COMMIT"]
    with table.connect() as session, session.cursor() as cursor:
        for number in range(60):
            if number == 30:
                cursor.execute(f"ALTER TABLE t {alter}")
            for statement in both:
                cursor.execute(statement.format(number))
    with followed.stream() as stream:
        before, after = cut_of(followed.drain(stream, wanted))
    shapes([*before, *after])
    assert inserted(before, "t") == inserted(before, "o") == list(range(30))
    assert sum(b.transactions for b in before) == sum(len(b.commits) for b in before) == 30
    assert sum(b.transactions for b in after) == 30
    assert inserted(after, "o") == list(range(30, 60)), "read on, other tables lack nothing"
    assert inserted(after, "t") == (list(range(30, 60)) if alter.startswith("ADD") else [])
    again = now(followed, before[-1].position)
    assert shapes(again) == []
    assert inserted(again, "t") == inserted(again, "o") == list(range(30, 60))


def test_nothing_is_read_on_before_the_cut_is_taken(table: MySqlDatabase) -> None:
    followed = Followed(table, "t")
    run(
        table, "INSERT INTO t VALUES (1, 'a', 1)", "ALTER TABLE t DROP v", "CREATE TABLE o (id int)"
    )
    ends = current_position(followed.connector)
    with followed.stream() as stream:
        until = time.monotonic() + 0.3
        while time.monotonic() < until:
            assert not isinstance(stream.read(lambda: Wanted.NOTHING), ChangeBatch)
        batch = stream.read(lambda: Wanted.FULL)
        assert isinstance(batch, ChangeBatch)
        assert only([batch]).clean
        assert not batch.position.includes(ends)


@contextmanager
def behind_a_change(table: MySqlDatabase) -> Iterator[Followed]:
    """Followed from behind an ALTER that the mapping does not know: only rows tell it."""
    table.execute("CREATE TABLE o (id int PRIMARY KEY, v varchar(200))")
    followed = Followed(table, "t", "o")
    table.execute("ALTER TABLE t DROP v")
    followed.start = parse_position(str(current_position(followed.connector)))
    yield followed


ACROSS = ["BEGIN", "INSERT INTO o (id) VALUES (2)", "INSERT INTO t VALUES (2, 2)",
          "INSERT INTO o (id) VALUES (3)", "COMMIT"]  # fmt: skip


@pytest.mark.parametrize("compressed", [False, pytest.param(True, marks=pytest.mark.matrix)])
def test_a_shape_that_rows_tell_ends_the_batch_before_their_transaction(
    request: pytest.FixtureRequest, compressed: bool, mysql_source: MySqlDatabase
) -> None:
    server = request.getfixturevalue("mysql97") if compressed else mysql_source.server
    with server.create_database() as table:
        table.execute("CREATE TABLE t (id int PRIMARY KEY, v varchar(40), n int)")
        with behind_a_change(table) as followed:
            first = ["SET SESSION binlog_transaction_compression = ON"] if compressed else []
            run(
                table,
                *first,
                "INSERT INTO o (id) VALUES (1)",
                *ACROSS,
                "INSERT INTO o (id) VALUES (4)",
            )
            before, after = cut_of(followed.all_batches())
            assert only(before).description == "column v was dropped"
            assert only(before).clean
            assert inserted(before, "o") == [1]
            assert [b.transactions for b in before] == [1]
            assert inserted(after, "o") == [2, 3, 4]
            assert inserted(after, "t") == []
            assert shapes(after) == []
            again = now(followed, before[-1].position)
            assert (inserted(again, "o"), inserted(again, "t")) == ([2, 3, 4], [2])


def test_a_shape_that_rows_tell_first_of_all(table: MySqlDatabase) -> None:
    with behind_a_change(table) as followed:
        run(table, *ACROSS)
        (cut,), after = cut_of(followed.all_batches())
        assert (cut.position, cut.transactions, len(cut.stages)) == (followed.start, 0, 1)
        assert inserted(after, "o") == [2, 3]


def test_several_shapes_in_one_transaction(table: MySqlDatabase) -> None:
    table.execute("CREATE TABLE s (id int PRIMARY KEY, v int)")
    table.execute("CREATE TABLE o (id int PRIMARY KEY)")
    followed = Followed(table, "t", "s", "o")
    run(table, "ALTER TABLE t DROP v", "ALTER TABLE s DROP v")
    start = current_position(followed.connector)
    run(
        table,
        "BEGIN",
        "INSERT INTO t VALUES (1, 1)",
        "INSERT INTO o VALUES (1)",
        "INSERT INTO s VALUES (1)",
        "COMMIT",
    )
    batches = followed.all_batches(start)
    assert sorted(c.table.name for c in shapes(batches)) == ["s", "t"]
    assert all(c.clean for c in shapes(batches))
    assert inserted(batches, "o") == [1]
    positions = [b.position for b in batches if shapes([b])]
    assert {str(p) for p in positions} == {str(start)}


def test_a_cut_does_not_shift_savepoints(mariadb_source: MySqlDatabase) -> None:
    """The log tells that rows were taken back when a table without transactions is concerned."""
    mariadb_source.execute("CREATE TABLE t (id int PRIMARY KEY, v varchar(40), n int)")
    mariadb_source.execute("CREATE TABLE m (id int PRIMARY KEY) ENGINE = MyISAM")
    with behind_a_change(mariadb_source) as followed:
        run(
            mariadb_source,
            "INSERT INTO o (id) VALUES (1)",
            "BEGIN",
            "INSERT INTO o (id) VALUES (2)",
            "INSERT INTO t VALUES (1, 1)",
            "SAVEPOINT a",
            "INSERT INTO m VALUES (1)",
            "INSERT INTO o (id) VALUES (3)",
            "ROLLBACK TO a",
            "INSERT INTO o (id) VALUES (4)",
            "COMMIT",
        )
        batches = followed.all_batches()
        assert only(batches).clean
        assert inserted(batches, "o") == [1, 2, 4]


def test_in_a_transaction_that_went_in_parts_nothing_can_be_cut(table: MySqlDatabase) -> None:
    with behind_a_change(table) as followed:
        digits = "(SELECT 0 i UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4)"
        many = (
            "INSERT INTO o SELECT {} + a.i + 5 * b.i + 25 * c.i + 125 * d.i + 625 * e.i,"
            " REPEAT('x', 200)"
            f" FROM {digits} a, {digits} b, {digits} c, {digits} d, {digits} e"
        )
        run(
            table,
            "BEGIN",
            many.format(0),
            many.format(10_000),
            "INSERT INTO t VALUES (1, 1)",
            many.format(20_000),
            "COMMIT",
            "INSERT INTO o (id) VALUES (-1)",
        )
        with followed.stream(batch_bytes=8 << 10) as stream:
            batches = followed.drain(stream, Wanted.FULL)
    assert not batches[0].final
    change = only(batches)
    assert not change.clean
    assert len(inserted(batches, "o")) == 3 * 5**5 + 1
    assert sum(b.transactions for b in batches) == 2


def test_rows_changed_by_a_statement_in_a_transaction_end_the_batch_before_it(
    table: MySqlDatabase,
) -> None:
    table.execute("CREATE TABLE o (id int PRIMARY KEY)")
    followed = Followed(table, "t", "o")
    run(
        table,
        "INSERT INTO t VALUES (1, 'a', 1)",
        "BEGIN",
        "INSERT INTO o VALUES (1)",
        "INSERT INTO t VALUES (2, 'a', 1)",
        "COMMIT",
    )
    run(table, "SET SESSION binlog_format = STATEMENT", "INSERT INTO t VALUES (3, 'a', 1)")
    before, after = cut_of(followed.all_batches())
    assert inserted(before, "t") == [1, 2]
    assert "binlog_format" in only(before).description
    assert (after, only(before).clean) == ([], True)


def test_two_changes_one_after_the_other(table: MySqlDatabase) -> None:
    table.execute("CREATE TABLE o (id int PRIMARY KEY, v int)")
    followed = Followed(table, "t", "o")
    run(
        table,
        "INSERT INTO o VALUES (1, 1)",
        "ALTER TABLE t DROP v",
        "ALTER TABLE o DROP v",
        "ALTER TABLE t DROP n",
        "INSERT INTO o VALUES (2)",
    )
    batches = followed.all_batches()
    assert [c.table.name for c in shapes(batches)] == ["t", "o"], "t is out already"
    first, second = [b for b in batches if shapes([b])]
    assert second.position.includes(first.position)
    assert first.position != second.position


# -- marks


@pytest.mark.parametrize("alter", ["DROP v", "RENAME COLUMN v TO w", "ADD x int", "MODIFY n text"])
@pytest.mark.parametrize("positions", ["auto", "file"])
def test_how_a_table_looked_before_its_mark_does_not_matter(
    table: MySqlDatabase, alter: str, positions: str
) -> None:
    table.execute("CREATE TABLE o (id int PRIMARY KEY)")
    followed = Followed(table, "t", "o", positions=positions)
    run(
        table,
        "INSERT INTO t VALUES (1, 'a', 1)",
        "INSERT INTO o VALUES (1)",
        "TRUNCATE t",
        "INSERT INTO t VALUES (2, 'a', 1), (3, 'a', 1)",
        f"ALTER TABLE t {alter}",
        "INSERT INTO t (id) VALUES (4)",
        "INSERT INTO o VALUES (2)",
    )
    mark = str(current_position(followed.connector))
    followed.mappings[0] = mapping_of(table_of(followed.connector, "t"))
    run(table, "DELETE FROM t WHERE id = 2", "INSERT INTO t (id) VALUES (5)", "TRUNCATE o")
    marks = {TableName(table.name, "t"): mark}
    batches = followed.all_batches(marks=marks)
    assert shapes(batches) == []
    assert inserted(batches, "t") == [5]
    assert inserted(batches, "o") == [1, 2]
    truncated = [s.tables for b in batches for s in b.stages if isinstance(s, Truncation)]
    assert truncated == [(followed.mappings[1].source.name,)]
    # Behind the mark it does matter.
    table.execute("ALTER TABLE t DROP n")
    assert "column n was dropped" in only(followed.all_batches(marks=marks)).description


def test_rows_of_the_same_shape_count_from_the_mark_on(table: MySqlDatabase) -> None:
    """Altered and altered back: a table map of the other shape is no reason to ignore it later."""
    followed = Followed(table, "t")
    run(
        table,
        "ALTER TABLE t MODIFY n varchar(10)",
        "INSERT INTO t VALUES (1, 'a', 1)",
        "ALTER TABLE t MODIFY n int",
    )
    mark = str(current_position(followed.connector))
    run(table, "INSERT INTO t VALUES (2, 'a', 1)")
    marks = {TableName(table.name, "t"): mark}
    assert inserted(followed.all_batches(marks=marks), "t") == [2]
    run(
        table,
        "ALTER TABLE t MODIFY n varchar(10)",
        "INSERT INTO t VALUES (3, 'a', 1)",
        "ALTER TABLE t MODIFY n int",
    )
    change = only(followed.all_batches(marks=marks))
    assert "column n changed from int" in change.description


# -- without names in the log


def test_without_names_in_the_log_the_catalog_names_the_columns(source: MySqlDatabase) -> None:
    source.execute(
        "CREATE TABLE t (id int unsigned PRIMARY KEY, v varchar(20) CHARACTER SET latin1,"
        " e enum('x','y'), b varbinary(10), g bigint AS (id + 1), n bigint unsigned)"
    )
    with unnamed(source):
        followed = Followed(source, "t")
        source.execute("INSERT INTO t (id, v, e, b, n) VALUES (4000000000, 'é', 'y', 'q', 1 << 63)")
        batches = followed.all_batches()
        assert Replica(followed.mappings[0]).apply(batches)() == followed.rows_now()
        source.execute("ALTER TABLE t ADD x int")
        source.execute("INSERT INTO t (id) VALUES (7)")
        change = only(followed.all_batches(batches[-1].position))
        assert change.description == "column x was added"
        assert not change.grown, "which columns the rows have is not known any more"
        start = current_position(followed.connector)
        source.execute("INSERT INTO t (id) VALUES (8)")
        assert "instead of 6" in only(followed.all_batches(start)).description


@pytest.mark.parametrize(
    ("alter", "told"),
    [
        ("MODIFY e enum('b','a')", True),
        ("CHANGE v v varchar(40) CHARACTER SET utf8mb4", True),
        ("CONVERT TO CHARACTER SET utf8mb4", True),
        ("MODIFY n int NOT NULL", True),
        ("ADD INDEX (n)", False),
        ("DEFAULT CHARACTER SET utf8mb4", False),
    ],
)
def test_without_names_in_the_log_any_retyped_column_is_told(
    source: MySqlDatabase, alter: str, told: bool
) -> None:
    source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v varchar(40), e enum('a','b'), n int)"
        " CHARACTER SET latin1"
    )
    with unnamed(source):
        followed = Followed(source, "t")
        run(source, "INSERT INTO t VALUES (1, 'é', 'a', 1)", f"ALTER TABLE t {alter}")
        batches = followed.all_batches()
        # A session that was not there before the statement may not know how rows were written.
        assert inserted(batches, "t") == ([] if "utf8mb4" in alter and told else [1])
        assert bool(shapes(batches)) is told
        assert not [c for c in shapes(batches) if c.grown]


def test_without_names_in_the_log_a_session_knows_how_rows_were_written(
    source: MySqlDatabase,
) -> None:
    source.execute("CREATE TABLE t (id int PRIMARY KEY, v text) CHARACTER SET utf8mb4")
    with unnamed(source):
        followed = Followed(source, "t")
        with followed.stream() as stream:
            run(
                source,
                "INSERT INTO t VALUES (1, 'é')",
                "ALTER TABLE t CONVERT TO CHARACTER SET latin1",
            )
            before, after = cut_of(followed.drain(stream))
        assert after == []
        assert "columns v were altered" in only(before).description
        (stage,) = [s for b in before for s in b.stages if isinstance(s, TableChanges)]
        assert rows_of(stage.inserts) == [{"id": 1, "v": "é"}]
