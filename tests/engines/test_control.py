"""The control tables: epochs, ledger, plan, journal, on a real server."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from godwit.engines.postgres.connection import Connector
from godwit.engines.postgres.control import (
    TABLES,
    PostgresControl,
    check_epoch,
    ledger_line,
    write_ledger_line,
)
from godwit.errors import EndpointError, FencedError
from godwit.model.catalog import TableName
from godwit.model.chunks import Bundle, Chunk, LoadedChunk
from godwit.model.endpoint import Connection, connection_from_text
from godwit.protocols import Epoch, Progress
from include.demo.servers import Database


class At(str):
    """A position of a made-up source."""

    def includes(self, other: object) -> bool:
        return str(self) >= str(other)


@pytest.fixture
def connector(target_db: Database) -> Connector:
    return Connector(connection_from_text("target", target_db.conn_uri))


@pytest.fixture
def control(connector: Connector) -> Iterator[PostgresControl]:
    control = PostgresControl(connector, "shop")
    control.install()
    yield control
    control.close()


def test_reading_before_install_finds_nothing(connector: Connector) -> None:
    control = PostgresControl(connector, "shop")
    assert control.progress() == Progress()
    assert control.plan() is None
    assert control.loaded() == {}
    assert control.suspended() == {}
    assert control.exception_count() == 0
    assert control.journal_states() == {}
    assert control.recall("anything") is None
    control.drop(everything=True)
    control.close()


def test_install_by_many_workers_at_once(connector: Connector, target_db: Database) -> None:
    controls = [PostgresControl(connector, f"m{n}") for n in range(6)]
    failures: list[BaseException] = []
    gate = threading.Barrier(len(controls))

    def install(control: PostgresControl) -> None:
        try:
            gate.wait(10)
            control.install()
        except BaseException as failure:  # noqa: BLE001
            failures.append(failure)

    threads = [threading.Thread(target=install, args=(c,)) for c in controls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    names = {
        n for (n,) in target_db.fetch("SELECT tablename FROM pg_tables WHERE schemaname='godwit'")
    }
    assert names == set(TABLES)
    for control in controls:
        control.close()


def test_a_newer_epoch_fences_the_older(control: PostgresControl, connector: Connector) -> None:
    old, other = control.take_epoch("apply"), control.take_epoch("load:x")
    new = control.take_epoch("apply")
    assert new.number == old.number + 1
    control.confirm_epoch(new)
    with pytest.raises(FencedError, match="newer runner"):
        control.confirm_epoch(old)
    with connector.connect(role="target", autocommit=False) as session:
        check_epoch(session, new)
        check_epoch(session, other)
        with pytest.raises(FencedError, match="newer runner"):
            check_epoch(session, old)


def test_no_epoch_comes_again_after_a_cleanup(
    control: PostgresControl, connector: Connector
) -> None:
    old = control.take_epoch("apply")
    control.drop()
    control.take_epoch("apply")
    with connector.connect(role="target", autocommit=False) as session, pytest.raises(FencedError):
        check_epoch(session, old)


def test_nobody_takes_an_epoch_between_check_and_commit(
    control: PostgresControl, connector: Connector
) -> None:
    epoch = control.take_epoch("apply")
    second = PostgresControl(connector, "shop")
    taken: list[Epoch] = []
    thread = threading.Thread(target=lambda: taken.append(second.take_epoch("apply")))
    with connector.connect(role="target", autocommit=False) as session:
        check_epoch(session, epoch)
        thread.start()
        thread.join(0.2)
        assert taken == []
        session.commit()
    thread.join(10)
    assert taken == [Epoch("shop", "apply", epoch.number + 1)]
    second.close()


def test_the_first_low_watermark_stays(control: PostgresControl) -> None:
    control.set_stop(At("0/9"))
    control.set_low(At("0/1"))
    control.set_low(At("0/2"))
    control.set_settled(At("0/5"))
    progress = control.progress()
    assert (progress.low, progress.checkpoint) == ("0/1", "0/1")
    assert (progress.settled, progress.stop_at) == ("0/5", "0/9")
    control.set_stop(None)
    assert control.progress().stop_at is None


def test_the_first_plan_stays(control: PostgresControl) -> None:
    chunk = Chunk(
        "a", TableName("s", "t"), part=TableName("s", "p"), how="key", columns=("x",), upper=("1",)
    )
    first = (Bundle("one", (chunk,), shared_snapshot=True),)
    assert control.save_plan(first) == first
    assert control.save_plan((Bundle("two", ()),)) == first
    assert control.plan() == first


def test_ledger(control: PostgresControl, connector: Connector) -> None:
    chunk = Chunk("c1", TableName("s", "t"), how="key", columns=("a", "b"), lower=("1", "x"))
    epoch = control.take_epoch("load:c1")
    loaded = LoadedChunk(chunk, 5, 100, 0.25, "1:2:")
    with connector.connect(role="target", autocommit=False) as session:
        write_ledger_line(session, epoch, loaded)
        assert control.loaded() == {}
        session.commit()
        assert ledger_line(session, "shop", "c1") == loaded
        assert ledger_line(session, "other", "c1") is None
    assert control.loaded() == {"c1": loaded}
    control.take_epoch("load:c1")
    with pytest.raises(FencedError):
        control.forget_chunks(["c1"], epoch)
    assert control.loaded() == {"c1": loaded}
    control.forget_chunks(["c1"], control.take_epoch("load:c1"))
    assert control.loaded() == {}


def test_suspension_journal_and_memory(control: PostgresControl) -> None:
    table = TableName("Odd schema", 'a"b')
    control.suspend(table, "first")
    control.suspend(table, "second")
    assert control.suspended() == {table: "first"}
    control.resume(table)
    assert control.suspended() == {}
    control.journal("fence", "started")
    control.journal("drain", "done", {"at": "0/1"})
    control.journal("fence", "done", {"n": 1})
    states = control.journal_states()
    assert states == {"drain": ("done", {"at": "0/1"}), "fence": ("done", {"n": 1})}
    assert list(states) == ["drain", "fence"]
    control.remember("k", [1, {"a": None}])
    control.remember("k", [2])
    assert control.recall("k") == [2]


def test_a_reload_ends_only_by_the_runner_that_applies_changes(control: PostgresControl) -> None:
    first, second = TableName("Odd schema", 'a"b'), TableName("public", "a_table")
    control.suspend(second, "a check")
    control.ask_reload(first)
    control.ask_reload(second)
    control.ask_reload(first)
    assert control.reloads() == (first, second)
    assert set(control.suspended()) == {first, second}
    stale = control.take_epoch("apply")
    epoch = control.take_epoch("apply")
    for end in (control.resume, lambda t, e: control.refuse_reload(t, "no", e)):
        with pytest.raises(FencedError):
            end(first, stale)
    assert control.reloads() == (first, second)
    control.resume(first, epoch)
    control.refuse_reload(second, "another check", epoch)
    assert control.reloads() == ()
    assert control.suspended() == {second: "another check"}
    control.ask_reload(first)
    control.restart()
    assert control.reloads() == ()


def test_a_cut_connection_is_opened_again(control: PostgresControl, target_db: Database) -> None:
    control.remember("k", 1)
    target_db.fetch(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    assert control.recall("k") == 1


def test_drop_removes_only_ours(
    control: PostgresControl, connector: Connector, target_db: Database
) -> None:
    other = PostgresControl(connector, "other")
    other.remember("k", 1)
    control.remember("k", 2)
    control.drop(everything=True)
    assert other.recall("k") == 1
    assert control.recall("k") is None
    other.drop(everything=True)
    assert target_db.fetch("SELECT to_regnamespace('godwit')::text") == [(None,)]
    other.close()


def test_session_settings(connector: Connector, target_db: Database) -> None:
    target_db.execute(
        f"ALTER DATABASE {target_db.name} SET datestyle = 'German';"
        f"ALTER DATABASE {target_db.name} SET timezone = 'Asia/Kolkata';"
        f"ALTER DATABASE {target_db.name} SET statement_timeout = '1min';"
    )
    with connector.connect(role="target") as session:
        row = session.execute(
            "SELECT '2024-02-03 04:05:06+00'::timestamptz::text, current_setting('search_path'),"
            " current_setting('statement_timeout'), current_setting('session_replication_role'),"
            " current_setting('application_name')"
        ).fetchone()
    assert row == ("2024-02-03 04:05:06+00", "pg_catalog", "0", "replica", "godwit")
    assert connector.version >= 130000
    assert connector.replica_role


def test_replication_connection(connector: Connector) -> None:
    with connector.connect(replication=True) as session:
        result = session.pgconn.exec_(b"IDENTIFY_SYSTEM")
        assert result.get_value(0, 0)


def test_an_ordinary_user_cannot_silence_triggers_and_may_still_connect(
    target_db: Database,
) -> None:
    role = f"plain_{target_db.name}"
    target_db.execute(f"CREATE ROLE {role} LOGIN")
    try:
        uri = target_db.conn_uri.replace("postgres@", f"{role}@")
        connector = Connector(connection_from_text("t", uri))
        assert not connector.replica_role
        connector.connect(role="target").close()
    finally:
        target_db.execute(f"DROP ROLE {role}")


def test_unreachable_says_where_and_hides_the_password(target_db: Database) -> None:
    connection = Connection(
        "gone", "postgres", "127.0.0.1", target_db.server.port, "postgres", "s3cret", "no_such_db"
    )
    with pytest.raises(EndpointError) as raised:
        Connector(connection).connect()
    assert "no_such_db" in str(raised.value)
    assert "'gone'" in str(raised.value)
    assert "s3cret" not in str(raised.value)
    assert "s3cret" not in repr(Connector(connection))


def test_unknown_extras_are_left_alone(target_db: Database) -> None:
    connection = Connection(
        "t",
        "postgres",
        "127.0.0.1",
        target_db.server.port,
        "postgres",
        database=target_db.name,
        extra={"cursor": "dictcursor", "sslmode": "prefer", "iam": False},
    )
    Connector(connection).connect().close()
