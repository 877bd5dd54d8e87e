"""The fence keeps writers out, waits for running transactions, and gives everything back."""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from godwit.engines.postgres.capture import Lsn
from godwit.engines.postgres.catalog import read_catalog
from godwit.engines.postgres.connection import Connector
from godwit.engines.postgres.fence import fence, plan_fence, unfence
from godwit.errors import CutoverError, EndpointError
from godwit.model.catalog import Table, TableName
from godwit.model.endpoint import connection_from_text
from include.demo.servers import Database

REFUSED = (psycopg.errors.ReadOnlySqlTransaction, psycopg.errors.InsufficientPrivilege)


@pytest.fixture
def connector(source_db: Database) -> Iterator[Connector]:
    source_db.execute("CREATE TABLE t (id int PRIMARY KEY, x text); INSERT INTO t VALUES (1)")
    connector = Connector(connection_from_text("source", source_db.conn_uri))
    yield connector
    connector.close()


@pytest.fixture
def role(source_db: Database) -> Iterator[str]:
    """An application's role, without which the database's server ends up as it began."""
    with _role(source_db) as name:
        yield name


@contextlib.contextmanager
def _role(database: Database) -> Iterator[str]:
    name = f"app_{secrets.token_hex(4)}"
    database.execute(f"CREATE ROLE {name} LOGIN")
    try:
        yield name
    finally:
        # Grants by roles other than the owner outlive DROP OWNED.
        database.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        database.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


def tables(connector: Connector) -> list[Table]:
    with connector.connect() as session:
        return list(read_catalog(session, lambda n: n.schema == "public"))


def plan(connector: Connector, mode: str) -> dict[str, Any]:
    """The plan after a journey through the journal."""
    result: dict[str, Any] = json.loads(json.dumps(plan_fence(connector, tables(connector), mode)))
    return result


def grants(database: Database) -> list[tuple[Any, ...]]:
    return database.fetch(
        """SELECT c.relname, NULL, x.*
        FROM pg_class c, aclexplode(coalesce(relacl, acldefault('r', relowner))) x
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
        UNION ALL SELECT attrelid::regclass::text, attname, x.*
        FROM pg_attribute, aclexplode(attacl) x
        WHERE attacl IS NOT NULL ORDER BY 1, 2, 3, 4, 5, 6"""
    )


def test_read_only_refuses_writers_and_is_given_back(
    source_db: Database, connector: Connector
) -> None:
    pooled = source_db.connect()
    made = plan(connector, "read-only")
    position = fence(connector, made)
    with pytest.raises(psycopg.OperationalError):
        pooled.execute("INSERT INTO t VALUES (2)")
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        source_db.execute("INSERT INTO t VALUES (2)")
    assert source_db.fetch("SELECT count(*) FROM t") == [(1,)]
    (end,) = source_db.fetch("SELECT pg_current_wal_insert_lsn()::text")[0]
    assert Lsn.parse(end).includes(position)
    unfence(connector, made)
    unfence(connector, made)
    source_db.execute("INSERT INTO t VALUES (2)")
    assert (
        source_db.fetch(
            "SELECT setconfig FROM pg_db_role_setting WHERE setdatabase = "
            "(SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        == []
    )


def test_read_only_keeps_a_setting_of_the_database(
    source_db: Database, connector: Connector
) -> None:
    source_db.execute(f"ALTER DATABASE {source_db.name} SET default_transaction_read_only = 'off'")
    made = plan(connector, "read-only")
    fence(connector, made)
    fence(connector, made)
    unfence(connector, made)
    assert source_db.fetch("SHOW default_transaction_read_only") == [("off",)]
    assert made["before"] == "off"


@pytest.mark.parametrize("mode", ["read-only", "revoke", "none"])
def test_a_running_transaction_may_finish(
    source_db: Database, connector: Connector, mode: str
) -> None:
    made = plan(connector, mode)
    writer = source_db.connect(autocommit=False)
    writer.execute("INSERT INTO t VALUES (2)")
    positions: list[Lsn] = []
    thread = threading.Thread(target=lambda: positions.append(fence(connector, made)))
    thread.start()
    thread.join(0.3)
    assert thread.is_alive(), "the fence has to wait for the writer"
    before = source_db.fetch("SELECT pg_current_wal_insert_lsn()::text")[0][0]
    writer.execute("INSERT INTO t VALUES (3)") if mode == "none" else None
    writer.commit()
    thread.join(20)
    assert positions
    assert positions[0].includes(Lsn.parse(before))
    assert positions[0].value > Lsn.parse(before).value
    assert source_db.fetch("SELECT count(*) FROM t")[0][0] >= 2
    unfence(connector, made)
    writer.close()


@pytest.mark.parametrize("mode", ["read-only", "revoke", "none"])
def test_a_transaction_that_does_not_end_is_named(
    source_db: Database, connector: Connector, mode: str
) -> None:
    made = plan(connector, mode)
    with source_db.connect(autocommit=False) as writer:
        writer.execute("UPDATE t SET x = 'secret-value'")
        with pytest.raises(CutoverError) as told:
            fence(connector, made, patience=0.1)
        assert f"pid {writer.info.backend_pid}" in str(told.value)
        assert "secret-value" not in str(told.value)
        unfence(connector, made)
        writer.rollback()


def test_terminate_ends_it(source_db: Database, connector: Connector) -> None:
    made = plan(connector, "read-only")
    writer = source_db.connect(autocommit=False)
    writer.execute("INSERT INTO t VALUES (2)")
    fence(connector, made, patience=0.1, terminate=True)
    with pytest.raises(psycopg.OperationalError):
        writer.commit()
    assert source_db.fetch("SELECT count(*) FROM t") == [(1,)]
    unfence(connector, made)


def test_writes_to_other_tables_are_not_waited_for_when_tables_are_fenced(
    source_db: Database, connector: Connector
) -> None:
    made = plan(connector, "revoke")
    source_db.execute("CREATE TABLE other (id int)")
    with source_db.connect(autocommit=False) as writer:
        writer.execute("INSERT INTO other VALUES (1)")
        fence(connector, made, patience=5)
        writer.commit()
    unfence(connector, made)


def test_partitions_are_fenced_with_their_table(source_db: Database, connector: Connector) -> None:
    source_db.execute(
        """CREATE TABLE p (id int) PARTITION BY LIST (id);
        CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1)"""
    )
    made = plan(connector, "none")
    with source_db.connect(autocommit=False) as writer:
        writer.execute("INSERT INTO p1 VALUES (1)")
        with pytest.raises(CutoverError):
            fence(connector, made, patience=0.1)
        writer.rollback()
    assert {g["table"] for g in plan(connector, "revoke")["grants"]} == {"t", "p", "p1"}


def test_godwits_own_sessions_and_replication_go_on(
    source_db: Database, connector: Connector
) -> None:
    made = plan(connector, "read-only")
    own = connector.connect()
    own.execute("BEGIN; LOCK TABLE public.t IN SHARE ROW EXCLUSIVE MODE")
    walsender = connector.connect(replication=True)
    fence(connector, made, patience=5)
    own.execute("COMMIT")
    own.execute("INSERT INTO public.t VALUES (9)")
    assert walsender.pgconn.exec_(b"IDENTIFY_SYSTEM").status == psycopg.pq.ExecStatus.TUPLES_OK
    unfence(connector, made)
    own.close()
    walsender.close()


def test_revoke_takes_and_gives_back_every_grant(
    source_db: Database, connector: Connector, role: str
) -> None:
    with _role(source_db) as boss, _role(source_db) as other:
        source_db.execute(
            f"""CREATE TABLE "q""%s" (id int, x text); ALTER TABLE "q""%s" OWNER TO {boss};
            GRANT ALL ON t TO {role} WITH GRANT OPTION; GRANT SELECT, TRIGGER ON t TO {other};
            GRANT INSERT ON "q""%s" TO PUBLIC; GRANT UPDATE (x), SELECT ON "q""%s" TO {role};
            GRANT DELETE ON "q""%s" TO {role} WITH GRANT OPTION;
            SET ROLE {role}; GRANT INSERT, DELETE ON t TO {other} WITH GRANT OPTION;
            GRANT DELETE ON "q""%s" TO {other}; SET ROLE {other}; GRANT INSERT ON t TO {boss}"""
        )
        before = grants(source_db)
        made = plan(connector, "revoke")
        fence(connector, made)
        taken = {"INSERT", "UPDATE", "DELETE", "TRUNCATE"}
        kept = grants(source_db)
        assert kept == [g for g in before if g[4] not in taken]
        with source_db.connect() as session:
            session.execute(f"SET ROLE {role}")
            for statement in (
                "INSERT INTO t VALUES (5)",
                "TRUNCATE t",
                'UPDATE "q""%s" SET x = NULL',
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    session.execute(statement.encode())
            assert session.execute("SELECT count(*) FROM t").fetchone() == (1,)
        fence(connector, made)
        unfence(connector, made)
        assert grants(source_db) == before
        unfence(connector, made)
        assert grants(source_db) == before


def test_concurrent_writers_lose_nothing_before_the_position(
    source_db: Database, connector: Connector, role: str
) -> None:
    """What writers have committed when they are refused lies before the fenced position."""
    source_db.execute(
        f"CREATE TABLE w (id bigint GENERATED ALWAYS AS IDENTITY, n int); GRANT ALL ON w TO {role}"
    )
    made = plan(connector, "revoke")
    committed = [0] * 3
    started = threading.Barrier(4)

    def write(number: int) -> None:
        with source_db.connect() as session:
            session.execute(f"SET ROLE {role}")
            for turn in range(1_000_000):
                try:
                    session.execute("INSERT INTO w (n) VALUES (%s)", [number])
                except REFUSED:
                    return
                committed[number] += 1
                if turn == 5:
                    started.wait(20)

    writers = [threading.Thread(target=write, args=(n,), daemon=True) for n in range(3)]
    for writer in writers:
        writer.start()
    started.wait(20)
    position = fence(connector, made)
    count = source_db.fetch("SELECT count(*) FROM w")[0][0]
    for writer in writers:
        writer.join(20)
        assert not writer.is_alive()
    assert source_db.fetch("SELECT count(*) FROM w")[0][0] == count == sum(committed)
    assert position.includes(Lsn.parse("0/1"))
    unfence(connector, made)


def test_a_fence_lifted_meanwhile_is_noticed(source_db: Database, connector: Connector) -> None:
    made = plan(connector, "read-only")
    with source_db.connect(autocommit=False, application_name="godwit") as hand:
        writer = source_db.connect(autocommit=False)
        writer.execute("INSERT INTO t VALUES (2)")
        failed: list[BaseException] = []

        def put_up() -> None:
            try:
                fence(connector, made, patience=20)
            except CutoverError as error:
                failed.append(error)

        thread = threading.Thread(target=put_up)
        thread.start()
        deadline = threading.Event()
        for _ in range(1000):
            hand.rollback()
            if hand.execute(
                "SELECT 1 FROM pg_db_role_setting s JOIN pg_database d ON "
                "d.oid = setdatabase WHERE datname = current_database()"
            ).fetchone():
                break
            deadline.wait(0.01)
        hand.execute(f"ALTER DATABASE {source_db.name} RESET ALL")
        hand.commit()
        writer.commit()
        thread.join(30)
        writer.close()
    assert "lifted" in str(failed[0])


def test_warnings_name_who_can_still_write(
    source_db: Database, connector: Connector, role: str
) -> None:
    with source_db.connect():
        assert any("superuser postgres" in w for w in plan(connector, "revoke")["warnings"])
    source_db.execute(f"ALTER ROLE {role} SET default_transaction_read_only = off")
    assert any(role in w for w in plan(connector, "read-only")["warnings"])


def test_missing_rights_are_told(source_db: Database, role: str) -> None:
    source_db.execute("CREATE TABLE t (id int)")
    login = connection_from_text("source", source_db.conn_uri.replace("postgres@", f"{role}@"))
    weak = Connector(login)
    name = Table(TableName("public", "t"), ())
    with pytest.raises(EndpointError, match="pg_read_all_stats"):
        plan_fence(weak, [name], "read-only")
    made = plan_fence(weak, [name], "revoke")
    with pytest.raises(EndpointError, match="ownership of the tables"):
        fence(weak, made)
    with pytest.raises(CutoverError, match="no fence"):
        plan_fence(weak, [name], "wall")
    weak.close()


def test_a_session_that_is_only_starting_is_waited_for(
    source_db: Database, connector: Connector
) -> None:
    """It has read the database's settings, and is not among the sessions yet."""
    started: list[psycopg.Connection[Any]] = []

    def start() -> None:
        with contextlib.suppress(psycopg.OperationalError):
            started.append(source_db.connect(options="-c post_auth_delay=1"))

    thread = threading.Thread(target=start)
    thread.start()
    deadline = time.monotonic() + 10
    while not source_db.fetch(
        "SELECT 1 FROM pg_locks WHERE locktype = 'object' AND classid = 'pg_database'::regclass"
        " AND mode = 'RowExclusiveLock' AND pid <> pg_backend_pid()"
    ):
        assert time.monotonic() < deadline
    made = plan(connector, "read-only")
    fence(connector, made)
    thread.join()
    for session in started:
        with contextlib.closing(session), pytest.raises(psycopg.Error):
            session.execute("INSERT INTO t VALUES (2)")
    unfence(connector, made)
