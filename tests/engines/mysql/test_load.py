"""Loading into a real server: rows and ledger line in one commit, or nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pytest

from godwit.engines.mysql import write
from godwit.engines.mysql.clear import clear_rows, prepare_tables
from godwit.engines.mysql.connection import Connector
from godwit.engines.mysql.control import MySqlControl
from godwit.errors import FencedError, LoadError
from godwit.model.catalog import TableName
from godwit.model.chunks import Chunk, LoadedChunk
from godwit.model.datatypes import Kind
from godwit.model.endpoint import Connection
from godwit.model.mapping import TableMapping
from include.demo.mysql_servers import MySqlDatabase, MySqlServer
from tests.engines.mysql.writing import Rows, connector_of, mapping_to
from tests.proxy import CuttingProxy

PLACE = TableName("public", "t")


@dataclass
class End:
    """A target of one migration called ``m`` with a table ``t`` of numbers and names."""

    database: MySqlDatabase
    connector: Connector
    control: MySqlControl
    mapping: TableMapping

    def make(self, key: str = "PRIMARY KEY", name: str = "varchar(20)") -> None:
        self.database.execute(f"CREATE TABLE t (id int {key}, name {name})")

    def load(self, *batches: pa.RecordBatch, chunk: str = "c1", **how: Any) -> LoadedChunk:
        epoch = self.control.take_epoch(f"load:{chunk}")
        return write.load(
            how.get("connector", self.connector),
            Chunk(chunk, PLACE),
            how.get("mapping", self.mapping),
            Rows(*batches),
            epoch,
        )

    def rows(self) -> list[tuple[Any, ...]]:
        return self.database.fetch("SELECT * FROM t ORDER BY id")


def batch(*rows: tuple[int | None, str | None]) -> pa.RecordBatch:
    ids, names = zip(*rows, strict=True) if rows else ((), ())
    return pa.record_batch(
        [pa.array(ids, pa.int32()), pa.array(names, pa.string())], names=["id", "name"]
    )


@pytest.fixture
def end(mysql_target: MySqlDatabase) -> Iterator[End]:
    connector = connector_of(mysql_target)
    control = MySqlControl(connector, "m")
    control.install()
    mapping = mapping_to(mysql_target, "t", {"id": Kind.INTEGER, "name": Kind.TEXT}, ["id"])
    yield End(mysql_target, connector, control, mapping)
    control.close()
    connector.close()
    mysql_target.execute(f"DROP DATABASE IF EXISTS `{mysql_target.name}_control`")


# -- rows and ledger


def test_rows_and_ledger_line(end: End) -> None:
    end.make()
    line = end.load(batch((1, "a"), (2, None)), batch(), batch((3, "c")))
    assert line.rows == 3
    assert line.bytes > 0
    assert end.control.loaded() == {"c1": line}
    assert end.rows() == [(1, "a"), (2, None), (3, "c")]
    # Once more: the ledger has it, and nothing is read.
    assert end.load(batch((9, "x"))) == line
    assert len(end.rows()) == 3


def test_no_rows_at_all(end: End) -> None:
    end.make()
    assert end.load(batch()).rows == 0
    assert set(end.control.loaded()) == {"c1"}


def test_many_batches_of_many_packets(end: End) -> None:
    end.make(name="longtext")
    wide = ["é\t\\\n" * 50_000, "x" * 3_000_000, ""]
    batches = [batch(*((10 * n + i, text) for i, text in enumerate(wide))) for n in range(4)]
    assert end.load(*batches).rows == 12
    assert [name for _id, name in end.rows()] == wide * 4


def test_odd_names(end: End) -> None:
    end.database.execute("CREATE TABLE `a``b %s`(`c``d %s` int, `{x}` text)")
    mapping = mapping_to(end.database, "a`b %s", {"c`d %s": Kind.INTEGER, "{x}": Kind.TEXT})
    rows = batch((1, "a")).rename_columns(["c`d %s", "{x}"])
    assert end.load(rows, mapping=mapping).rows == 1
    assert end.database.fetch("SELECT * FROM `a``b %s`") == [(1, "a")]


def test_a_stale_runner_commits_nothing(end: End) -> None:
    end.make()
    stale = end.control.take_epoch("load:c1")
    end.control.take_epoch("load:c1")
    with pytest.raises(FencedError, match="newer runner"):
        write.load(end.connector, Chunk("c1", PLACE), end.mapping, Rows(batch((1, "a"))), stale)
    assert (end.rows(), end.control.loaded()) == ([], {})


class Slow(Rows):
    """Waits in its middle until it is told to go on."""

    def __init__(self, *batches: pa.RecordBatch) -> None:
        super().__init__(*batches)
        self.inside, self.go_on = threading.Event(), threading.Event()

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        yield from self._batches[:-1]
        # More than is kept back anywhere: the server has rows by now.
        self.inside.set()
        assert self.go_on.wait(20)
        yield self._batches[-1]


@pytest.mark.parametrize("key", ["PRIMARY KEY", ""])
def test_a_runner_that_is_overtaken_in_the_middle(end: End, key: str) -> None:
    end.make(key)
    rows = [batch(*((n * 1000 + i, "x" * 20) for i in range(1000))) for n in range(20)]
    old = end.control.take_epoch("load:c1")
    failures: list[BaseException] = []
    slow = Slow(*rows)

    def run() -> None:
        try:
            write.load(end.connector, Chunk("c1", PLACE), end.mapping, slow, old)
        except BaseException as failure:  # noqa: BLE001
            failures.append(failure)

    thread = threading.Thread(target=run)
    thread.start()
    assert slow.inside.wait(20)
    newer = threading.Thread(target=lambda: end.load(*rows))
    newer.start()
    # With a key the newer one waits for the older one's, and the older one gives up.
    newer.join(0.3 if key else 20)
    slow.go_on.set()
    thread.join(20)
    newer.join(20)
    assert [type(f) for f in failures] == [FencedError]
    assert len(end.rows()) == 20_000
    assert len(end.control.loaded()) == 1


@pytest.mark.matrix
def test_through_an_encrypted_connection(mysql97: MySqlServer) -> None:
    with mysql97.create_database() as database:
        c = connector_of(database).connection
        settings = {"control_database": database.name}
        secure = Connection("t", "mysql", c.host, c.port, c.login, "", c.database,
                            {"ssl_mode": "REQUIRED"})  # fmt: skip
        connector = Connector(secure, settings)
        control = MySqlControl(connector, "m")
        control.install()
        mapping = mapping_to(database, "t", {"id": Kind.INTEGER, "name": Kind.TEXT}, ["id"])
        end = End(database, connector, control, mapping)
        end.make()
        rows = [batch(*((n * 1000 + i, "x" * 20) for i in range(1000))) for n in range(20)]
        assert end.load(*rows).rows == 20_000
        with connector.lease("target") as session:
            assert session.encrypted

        class Broken(Rows):
            def __iter__(self) -> Iterator[pa.RecordBatch]:
                yield from self._batches
                raise OSError("the source is gone")

        epoch = control.take_epoch("load:c2")
        with pytest.raises(OSError, match="the source is gone"):
            write.load(connector, Chunk("c2", PLACE), mapping, Broken(*rows), epoch)
        assert len(end.rows()) == 20_000
        control.close()
        connector.close()


# -- refusals


def test_rows_already_there_are_an_error_that_says_so(end: End) -> None:
    end.make()
    end.database.execute("INSERT INTO t VALUES (4711, 'top secret')")
    with pytest.raises(LoadError) as raised:
        end.load(batch((1, "a"), (4711, "top secret")))
    text = str(raised.value)
    assert "on the target already" in text
    assert f"{end.database.name}.t" in text
    assert "PRIMARY" in text
    assert "4711" not in text
    assert "secret" not in text
    assert end.rows() == [(4711, "top secret")]
    assert end.control.loaded() == {}


def test_a_refusal_names_the_place_and_no_value(end: End) -> None:
    end.make(name="varchar(5)")
    with pytest.raises(LoadError) as raised:
        end.load(batch((1, "a"), (2, "topsecret")))
    text = str(raised.value)
    assert "line 2 column name" in text
    assert "topsecret" not in text
    assert (end.rows(), end.control.loaded()) == ([], {})


def test_a_value_refused_in_the_middle_of_the_stream(end: End) -> None:
    end.make("NOT NULL")
    with pytest.raises(LoadError, match="cannot be null"):
        end.load(batch((1, "a")), batch((None, "b")))
    assert (end.rows(), end.control.loaded()) == ([], {})
    assert end.load(batch((1, "a"))).rows == 1


def test_a_unique_index_that_is_there_already(end: End) -> None:
    end.make()
    end.database.execute("CREATE UNIQUE INDEX u ON t (name)")
    with pytest.raises(LoadError, match="already"):
        end.load(batch((1, "a"), (2, "b"), (3, "a")))
    assert end.rows() == []


def test_a_failing_source_leaves_nothing(end: End) -> None:
    end.make()

    class Broken(Rows):
        def __iter__(self) -> Iterator[pa.RecordBatch]:
            yield batch((1, "a"))
            raise OSError("the source is gone")

    epoch = end.control.take_epoch("load:c1")
    with pytest.raises(OSError, match="the source is gone"):
        write.load(end.connector, Chunk("c1", PLACE), end.mapping, Broken(batch()), epoch)
    assert (end.rows(), end.control.loaded()) == ([], {})
    assert end.load(batch((1, "a"))).rows == 1


def test_a_row_larger_than_a_packet(end: End) -> None:
    """LOAD DATA takes it in pieces; an INSERT has to be one packet, and says so."""
    end.make(name="longtext")
    (limit,) = end.database.fetch("SELECT @@GLOBAL.max_allowed_packet, @@GLOBAL.local_infile")[0][
        :1
    ]
    end.database.execute("SET GLOBAL max_allowed_packet = 1048576")
    try:
        big = "x" * 3_000_000
        end.load(batch((1, big)))
        assert end.database.fetch("SELECT id, LENGTH(name) FROM t") == [(1, len(big))]
        end.database.execute("SET GLOBAL local_infile = 0")
        end.connector.close()
        with pytest.raises(LoadError, match="max_allowed_packet of 1048576"):
            end.load(batch((2, big)), chunk="c2")
    finally:
        end.database.execute(f"SET GLOBAL max_allowed_packet = {limit}")
        end.database.execute("SET GLOBAL local_infile = 1")


def test_where_the_server_forbids_files(end: End) -> None:
    end.make()
    end.database.execute("SET GLOBAL local_infile = 0")
    try:
        rows = [batch(*((n * 1000 + i, "é'\\" * 6) for i in range(1000))) for n in range(60)]
        assert end.load(*rows).rows == 60_000
        assert end.database.fetch("SELECT COUNT(*), MIN(name), MAX(name) FROM t") == [
            (60_000, "é'\\" * 6, "é'\\" * 6)
        ]
        with pytest.raises(LoadError, match="already"):
            end.load(batch((5, "a")), chunk="c2")
    finally:
        end.database.execute("SET GLOBAL local_infile = 1")


def test_without_the_binary_log(end: End) -> None:
    end.make()
    settings = {**end.connector.settings, "binary_log": False}
    connector = Connector(end.connector.connection, settings)
    before = log_end(end)
    end.load(batch((1, "a")), connector=connector)
    with connector.lease("target") as session:
        assert session.value("SELECT @@sql_log_bin") == 1
    connector.close()
    assert not logged(end, before)
    end.load(batch((2, "b")), chunk="c2")
    assert logged(end, before)
    assert len(end.rows()) == 2


def log_end(end: End) -> tuple[str, int]:
    """The end of the server's binary log: file and position."""
    name, size = end.database.fetch("SHOW BINARY LOGS")[-1][:2]
    return str(name), int(size)


def logged(end: End, since: tuple[str, int]) -> bool:
    """Whether the binary log speaks of rows of the table."""
    events = end.database.fetch(f"SHOW BINLOG EVENTS IN '{since[0]}' FROM {since[1]}")
    return any(f"({end.database.name}.t)" in str(event[5]) for event in events)


# -- lost connections


def through(end: End, proxy: CuttingProxy) -> Connector:
    c = end.connector.connection
    return Connector(
        Connection(c.conn_id, c.conn_type, "127.0.0.1", proxy.port, c.login, "", c.database),
        end.connector.settings,
    )


@pytest.mark.parametrize("done", [True, False])
def test_the_answer_to_the_commit_gets_lost(
    end: End, monkeypatch: pytest.MonkeyPatch, done: bool
) -> None:
    end.make()
    plain = write.Session.run

    def run(session: write.Session, sql: str, parameters: Any = None) -> int:
        if sql == "COMMIT":
            if done:
                plain(session, sql)
            session._sock.shutdown(2)
        return plain(session, sql, parameters)

    monkeypatch.setattr(write.Session, "run", run)
    if done:
        assert end.load(batch((1, "a"))).rows == 1
    else:
        with pytest.raises(LoadError):
            end.load(batch((1, "a")))
    monkeypatch.undo()
    assert len(end.rows()) == len(end.control.loaded()) == int(done)
    assert end.load(batch((1, "a"))).rows == 1
    assert end.rows() == [(1, "a")]


def test_a_connection_cut_in_the_middle(end: End) -> None:
    end.make()
    proxy = CuttingProxy(end.database.server.port)
    connector = through(end, proxy)

    class Cutting(Rows):
        def __iter__(self) -> Iterator[pa.RecordBatch]:
            for n in range(2000):
                if n == 20:
                    proxy.close()
                yield batch(*((n * 1000 + i, "x" * 20) for i in range(1000)))

    epoch = end.control.take_epoch("load:c1")
    with pytest.raises(LoadError, match="run the task again"):
        write.load(connector, Chunk("c1", PLACE), end.mapping, Cutting(batch()), epoch)
    connector.close()
    assert end.control.loaded() == {}
    assert end.load(batch((1, "a"))).rows == 1
    assert end.rows() == [(1, "a")]


# -- emptying


@pytest.mark.parametrize("mode", ["DO_NOTHING", "TRUNCATE_BEFORE_LOAD"])
def test_prepare(end: End, mode: str) -> None:
    end.make()
    end.database.execute("CREATE TABLE child (t int, FOREIGN KEY (t) REFERENCES t (id))")
    epoch = end.control.take_epoch("prepare")
    prepare_tables(end.connector, [end.mapping], mode, epoch)
    end.database.execute("INSERT INTO t VALUES (1, 'not ours')")
    if mode == "DO_NOTHING":
        with pytest.raises(LoadError, match="already has rows"):
            prepare_tables(end.connector, [end.mapping], mode, epoch)
        assert len(end.rows()) == 1
        end.database.execute("DELETE FROM t")
    else:
        prepare_tables(end.connector, [end.mapping], mode, epoch)
    assert end.rows() == []
    end.load(batch((1, "ours")))
    prepare_tables(end.connector, [end.mapping], mode, epoch)
    assert end.rows() == [(1, "ours")]


def test_prepare_by_a_stale_runner_empties_nothing(end: End) -> None:
    end.make()
    end.database.execute("INSERT INTO t VALUES (1, 'a')")
    stale = end.control.take_epoch("prepare")
    end.control.take_epoch("prepare")
    with pytest.raises(FencedError):
        prepare_tables(end.connector, [end.mapping], "TRUNCATE_BEFORE_LOAD", stale)
    assert len(end.rows()) == 1


def test_prepare_by_who_may_not_lock_or_truncate(end: End) -> None:
    end.make()
    end.database.execute("INSERT INTO t VALUES (1, 'a')")
    name = end.database.name
    user = f"u{name}"[:30]
    end.database.execute(
        f"CREATE USER {user}@'%%' IDENTIFIED BY 'pw';"
        f"GRANT SELECT, INSERT, DELETE, UPDATE ON `{name}`.* TO {user}@'%%';"
        f"GRANT ALL ON `{name}_control`.* TO {user}@'%%'".replace("%%", "%")
    )
    try:
        c = end.connector.connection
        connector = Connector(
            Connection("t", "mysql", c.host, c.port, user, "pw", c.database),
            end.connector.settings,
        )
        epoch = end.control.take_epoch("prepare")
        prepare_tables(connector, [end.mapping], "TRUNCATE_BEFORE_LOAD", epoch)
        assert end.rows() == []
        assert end.load(batch((1, "a")), connector=connector).rows == 1
        connector.close()
    finally:
        end.database.execute(f"DROP USER {user}@'%'")


def test_columns_that_would_bend_values_silently(end: End) -> None:
    end.database.execute("CREATE TABLE u (a float, b char(5), c binary(3))")
    kinds = {"a": Kind.FLOAT, "b": Kind.TEXT, "c": Kind.BINARY}
    mapping = mapping_to(end.database, "u", kinds)
    epoch = end.control.take_epoch("prepare")
    with pytest.raises(LoadError, match="silently") as raised:
        prepare_tables(end.connector, [mapping], "DO_NOTHING", epoch)
    for part in ("a (", "→ float", "→ char(5)", "→ binary(3)"):
        assert part in str(raised.value)


def test_clear_rows(end: End) -> None:
    end.make()
    end.load(batch((1, "a")))
    end.load(batch((2, "b")), chunk="c2")
    stale = end.control.take_epoch("load:c1")
    epoch = end.control.take_epoch("load:c1")
    with pytest.raises(FencedError):
        clear_rows(end.connector, end.mapping, ["c1", "c2"], stale)
    assert len(end.rows()) == len(end.control.loaded()) == 2
    clear_rows(end.connector, end.mapping, ["c1", "c2"], epoch)
    assert (end.rows(), end.control.loaded()) == ([], {})
