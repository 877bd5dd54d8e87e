"""Whole migrations by task settings and schedules: truncation, soft deletes, reloads, hooks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from godwit.errors import ApplyError, CutoverError, DefinitionError, FencedError
from godwit.migrator import run_until
from godwit.model.definition import parse_definition
from godwit.model.endpoint import Connection, connection_from_text
from include.demo.servers import Database
from tests.scenarios.shaped import Shaped, shaped, transformation

NOTES = (
    "CREATE TABLE note (id int PRIMARY KEY, t text);"
    "INSERT INTO note SELECT g, 't' || g FROM generate_series(1, 200) g"
)
TRUNCATED = "ChangeProcessingDdlHandlingPolicy"


@pytest.mark.parametrize("way", ["plain", "reshaped"])
def test_a_truncate_can_be_left_out(way: str, source_db: Database, target_db: Database) -> None:
    source_db.execute(NOTES)
    rules = [transformation("column", "remove-column", "public.note.t")] if way != "plain" else []
    settings = {TRUNCATED: {"HandleSourceTableTruncated": False}}
    with shaped(source_db, target_db, *rules, task_settings=settings) as moved:
        moved.migrate()
        moved.change("TRUNCATE note; INSERT INTO note VALUES (1, 'again'), (999, 'new')")
        assert target_db.fetch("SELECT count(*) FROM note") == [(201,)]
        moved.change("UPDATE note SET t = 'more'; DELETE FROM note WHERE id = 999")
        assert target_db.fetch("SELECT count(*) FROM note") == [(200,)]
        if way == "plain":
            assert target_db.fetch("SELECT t FROM note WHERE id IN (1, 2) ORDER BY id") == [
                ("more",),
                ("t2",),
            ]
        with moved.open() as migrator:
            assert migrator.status().exceptions == 0
        assert not moved.validation()["public.note"].equal


def test_a_truncate_can_stop_the_run(source_db: Database, target_db: Database) -> None:
    source_db.execute(NOTES)
    settings = {"ErrorBehavior": {"ApplyErrorFailOnTruncationDdl": True}}
    with shaped(source_db, target_db, task_settings=settings) as moved:
        moved.migrate()
        with pytest.raises(ApplyError, match=r"(?s)public\.note.*HandleSourceTableTruncated"):
            moved.change("INSERT INTO note VALUES (201, 'x'); TRUNCATE note")
        assert target_db.fetch("SELECT count(*) FROM note")[0][0] in (200, 201)
        del moved.definition["task_settings"]
        moved.change("INSERT INTO note VALUES (5, 'after')")
        moved.assert_holds("note", "SELECT * FROM note")


def test_rows_deleted_on_the_source_stay_marked(source_db: Database, target_db: Database) -> None:
    source_db.execute(NOTES)
    rule = transformation(
        "column",
        "add-column",
        "public.note",
        "op",
        expression="operation_indicator('D', 'U', 'I')",
        data_type={"type": "string", "length": 50},
    )
    with shaped(source_db, target_db, rule) as moved:
        moved.migrate(
            during="DELETE FROM note WHERE id = 1; UPDATE note SET t = 'u' WHERE id = 2",
            after="DELETE FROM note WHERE id BETWEEN 10 AND 19;"
            "UPDATE note SET t = 'u' WHERE id = 20; INSERT INTO note VALUES (300, 'new');"
            "UPDATE note SET id = 400 WHERE id = 30",
        )
        marks = dict(target_db.fetch("SELECT id, op FROM note"))
        assert {marks[n] for n in range(10, 20)} == {"D"}
        assert (marks[20], marks[300], marks[40]) == ("U", "I", "I")
        moved.assert_valid(note="marked as deleted in op")
        moved.change("INSERT INTO note VALUES (10, 'back')")
        assert target_db.fetch("SELECT t, op FROM note WHERE id = 10") == [("back", "I")]
        moved.assert_valid()
        target_db.execute("UPDATE note SET op = 'D' WHERE id = 50; DELETE FROM note WHERE id = 51")
        assert moved.validation()["public.note"].difference_count == 2


RELOAD: dict[str, Any] = {
    "migration_type": "full-load",
    "schedule": "@daily",
    "task_settings": {"FullLoadSettings": {"TargetTablePrepMode": "TRUNCATE_BEFORE_LOAD"}},
}


@pytest.mark.parametrize("mode", ["TRUNCATE_BEFORE_LOAD", "DROP_AND_CREATE"])
def test_each_run_of_a_schedule_loads_again(
    mode: str, source_db: Database, target_db: Database
) -> None:
    source_db.execute(f"{NOTES}; CREATE TABLE child (id int PRIMARY KEY, note int REFERENCES note)")
    source_db.execute("INSERT INTO child SELECT id, id FROM note")
    settings = {"FullLoadSettings": {"TargetTablePrepMode": mode}}
    with shaped(source_db, target_db, **{**RELOAD, "task_settings": settings}) as moved:
        for run in ("first", "second"):
            bundles = begin(moved, run)
            with moved.open() as migrator:
                # A task that is cleared, in the same run: nothing begins anew.
                assert not migrator.begin_run(run)
                assert migrator.plan_chunks() == bundles
                for bundle in bundles * 2:
                    migrator.load(bundle)
                migrator.catch_up()
                assert {o.state for o in migrator.finish_schema().objects} <= {"equal", "skipped"}
            for table in ("note", "child"):
                moved.assert_holds(table, f"SELECT * FROM {table}")
            moved.assert_valid()
            source_db.execute(
                "DELETE FROM child WHERE id % 2 = 0; DELETE FROM note WHERE id % 2 = 0;"
                "UPDATE note SET t = 'other'; INSERT INTO note SELECT min(id) - 1 FROM note"
            )
        moved.run()  # from a shell: what is done is done again
        moved.assert_holds("note", "SELECT * FROM note")


def begin(moved: Shaped, run: str) -> list[Any]:
    with moved.open() as migrator:
        assert migrator.begin_run(run)
        migrator.configure_endpoints()
        migrator.convert_schema()
        return migrator.plan_chunks()


def test_a_full_load_sets_sequences(source_db: Database, target_db: Database) -> None:
    source_db.execute(
        "CREATE TABLE line (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n serial, t text);"
        "INSERT INTO line (t) SELECT 't' FROM generate_series(1, 50)"
    )
    rename = transformation("schema", "rename", "public", "landed")
    with shaped(source_db, target_db, rename, migration_type="full-load") as moved:
        moved.run()
        target_db.execute("INSERT INTO landed.line (t) VALUES ('next')")
        assert target_db.fetch("SELECT max(id), max(n) FROM landed.line") == [(51, 51)]


def test_a_worker_of_the_run_before_is_fenced(source_db: Database, target_db: Database) -> None:
    source_db.execute(NOTES)
    with shaped(source_db, target_db, **RELOAD) as moved:
        begin(moved, "first")
        with moved.open() as migrator:
            (chunk,) = (c for b in migrator.plan_chunks() for c in b.chunks)
            old = migrator.control.take_epoch(f"load:{chunk.id}")
        begin(moved, "second")
        with moved.open() as migrator, pytest.raises(FencedError):
            migrator.target.clear_rows(migrator.mappings[0], [chunk.id], old)


def test_a_reload_says_what_becomes_of_the_rows_before() -> None:
    data = {
        "name": "m",
        "source": {"conn_id": "a"},
        "target": {"conn_id": "b"},
        "tables": {"include": ["public.*"]},
        "migration_type": "full-load",
        "schedule": "@daily",
    }
    with pytest.raises(DefinitionError, match="TRUNCATE_BEFORE_LOAD"):
        parse_definition(data, "test")
    assert parse_definition({**data, "schedule": "@once"}, "test").reloads is False
    assert parse_definition({**data, **RELOAD}, "test").reloads is True


@contextmanager
def receiver(status: list[int]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An HTTP server that answers with these statuses, the last one again and again."""
    heard: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            heard.append({"path": self.path, "headers": dict(self.headers), "body": body.decode()})
            self.send_response(status.pop(0) if len(status) > 1 else status[0])
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}", heard
        finally:
            server.shutdown()
            thread.join()


def test_hooks_switch_in_order_and_are_repeated(
    source_db: Database, target_db: Database, tmp_path: Path
) -> None:
    source_db.execute(NOTES)
    target_db.execute("CREATE TABLE switched (what text)")
    pointed: list[tuple[str, str]] = []

    def point(conn_id: str, at: Connection) -> None:
        pointed.append((conn_id, at.conn_id))

    statement = "INSERT INTO public.switched VALUES ('{}')".format
    with receiver([503, 200]) as (address, heard):
        hooks = [
            {
                "sql": {
                    "endpoint": "target",
                    "statements": [statement("on")],
                    "undo": [statement("off")],
                }
            },
            {"airflow_connection": {"conn_id": "shop", "from": "target"}},
            {
                "name": "tell the team",
                "webhook": {"conn_id": "chat", "path": "/hook", "body": {"text": "moved"}},
            },
        ]
        cutover = {"hooks": hooks, "max_lag_seconds": 60}
        with shaped(source_db, target_db, cutover=cutover) as moved:
            host, port = address.split(":")
            moved.connections["chat"] = connection_from_text(
                "chat", f"http://robot:pa%20ss@{host}:{port}/?X-Token=t0ken"
            )
            moved.migrate()
            quiet = "UPDATE godwit.checkpoints SET session_at = NULL"
            target_db.execute(quiet)  # or the session just ended would be waited for
            with moved.open(point) as migrator, pytest.raises(CutoverError) as refused:
                migrator.cutover()
            text = str(refused.value)
            assert "tell the team" in text or "webhook" in text
            assert "503" in text
            assert "t0ken" not in text
            assert "pa ss" not in text
            with moved.open(point) as migrator:
                assert migrator.cutover().open
                assert migrator.cut_over()
            assert [h["path"] for h in heard] == ["/hook", "/hook"]
            assert heard[1]["body"] == '{"text": "moved"}'
            assert heard[1]["headers"]["Authorization"].startswith("Basic ")
            assert heard[1]["headers"]["X-Token"] == "t0ken"
            assert pointed[0] == ("shop", "target")
            assert target_db.fetch("SELECT what FROM switched")[0] == ("on",)
            with moved.open(point) as migrator:
                migrator.fall_back()
            assert pointed[-1] == ("shop", "source")
            assert target_db.fetch("SELECT what FROM switched")[-1] == ("off",)
            source_db.execute("INSERT INTO note VALUES (1000, 'the source takes writes again')")


def test_a_connection_hook_needs_airflow(source_db: Database, target_db: Database) -> None:
    source_db.execute(NOTES)
    hooks = [{"airflow_connection": {"conn_id": "shop", "from": "target"}}]
    with shaped(source_db, target_db, cutover={"hooks": hooks}) as moved:
        moved.migrate()
        with moved.open() as migrator, pytest.raises(CutoverError, match="isn't Airflow"):
            run_until(migrator, "cutover")
        source_db.execute("INSERT INTO note VALUES (1000, 'no fence was put up')")
