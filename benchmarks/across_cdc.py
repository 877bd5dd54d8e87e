"""Draining a backlog of MySQL's changes into PostgreSQL, decoding alone, and latency."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.across_ends import Ends, metered
from benchmarks.across_tables import Column, Digest, Table
from benchmarks.contest import PeerError, Run, contest
from benchmarks.latency import BEHIND, LATE, PAUSE, WARM
from benchmarks.machine import tree_cpu
from benchmarks.ours import Worker, capture
from include.demo.mysql_servers import MySqlDatabase, MySqlServer
from include.demo.servers import Database, PostgresServer

DEADLINE = 300.0
#: Slow peers get this part of the changes, over tables that are as much smaller; times are scaled.
PART = 20
ITEM = Table(
    "item",
    (
        Column("id", "bigint NOT NULL", "bigint NOT NULL", "g"),
        Column("a", "int", "int", "g % 1000"),
        Column("c", "bigint", "bigint", "g * 7"),
        Column("amount", "decimal(12,2)", "numeric(12,2)", "(g % 100000) / 100"),
        Column("name", "varchar(60)", "varchar(60)", "CONCAT('name ', g)"),
        Column("e", "text", "text", "CONCAT('some longer text value number ', g)"),
        Column(
            "made",
            "datetime(6)",
            "timestamp(6)",
            "TIMESTAMP '2026-01-01 00:00:00' + INTERVAL g SECOND",
            "time",
        ),
        Column("day", "date", "date", "DATE '2020-01-01' + INTERVAL g % 2000 DAY"),
        Column("flag", "tinyint", "smallint", "g % 2"),
        Column("ratio", "double", "double precision", "g / 3e0", "double"),
    ),
)
_ROW = ", ".join(c.make for c in ITEM.columns)


@dataclass(frozen=True)
class Workload:
    name: str
    title: str
    first: Callable[[int], int]
    body: str
    """One turn of a loop: `made` changes so far of `n`, over about `size` rows."""
    each: int
    """Changes in a transaction."""


_UPDATE = """UPDATE item SET a = made % 1000000, c = c + 1,
    e = CONCAT('updated text value ', made) WHERE id = x;"""
_MIX = f"""SET r = RAND();
  IF r < 0.4 THEN SET g = following; INSERT INTO item SELECT {_ROW}; SET following = following + 1;
  ELSEIF r < 0.75 THEN {_UPDATE}
  ELSEIF r < 0.9 THEN DELETE FROM item WHERE id = x;
  ELSE UPDATE item SET id = following WHERE id = x; SET following = following + 1; END IF;"""
WORKLOADS = (
    Workload(
        "my-ins",
        "inserts, 1,000 a transaction",
        lambda _: 0,
        f"SET g = made + 1; INSERT INTO item SELECT {_ROW};",
        1000,
    ),
    Workload("my-upd", "random updates", lambda n: n, _UPDATE, 1000),
    Workload("my-mix", "mixed 40/35/15/10, 20 a transaction", lambda n: n, _MIX, 20),
)


def drain(
    ends: Ends, *, changes: int, rounds: int, names: Sequence[str] = (), slow: bool = True
) -> list[dict[str, Any]]:
    """A contest for each workload; the plain baseline is the reference that others are told by."""
    source, target = ends.mysql("source"), ends.postgres("target")
    return [
        _one(source, target, w, changes, rounds, slow=slow)
        for w in WORKLOADS
        if not names or w.name in names
    ]


@dataclass
class Backlog:
    """A database with changes in the log, from a position on."""

    source: MySqlDatabase
    base: Database
    low: str
    place: tuple[str, int]
    """The same position as file and offset."""
    content: Digest


def _one(
    source: MySqlServer,
    target: PostgresServer,
    w: Workload,
    changes: int,
    rounds: int,
    *,
    slow: bool,
) -> dict[str, Any]:
    few = max(1000, changes // PART)
    name = w.name.replace("-", "_")
    with tempfile.TemporaryDirectory(prefix="godwit-bench-") as folder:
        Path(folder).chmod(0o777)
        chameleon = Chameleon(Path(folder), source, target, f"{name}_few")
        with (
            _backlog(source, target, w, few, f"{name}_few", chameleon.prepare) as part,
            _backlog(source, target, w, changes, name) as whole,
        ):
            plain = f"python-mysql-replication, row by row ({few:,})"
            others: dict[str, Callable[[], Run]] = {
                plain: lambda: _plain(part, changes / few),
                f"pg_chameleon ({few:,})": lambda: chameleon.drain(part, changes / few),
            }
            ours = {"godwit": lambda: _ours(whole)}
            told = contest(w.title, changes, rounds, ours, peers=others if slow else None)
            chameleon.forget()
    return {"name": w.name, **told}


@contextmanager
def _backlog(
    server: MySqlServer,
    target: PostgresServer,
    workload: Workload,
    changes: int,
    name: str,
    prepare: Callable[[], None] = lambda: None,
) -> Iterator[Backlog]:
    with server.create_database(name) as source, target.create_database(f"base_{name}") as base:
        for side, schema in ((source, ""), (base, name)):
            ITEM.create(side, keys=True, schema=schema)
            side.execute(f"CREATE TABLE {name}.marker (id int PRIMARY KEY)")
        rows = workload.first(changes)
        if rows:
            ITEM.fill(source, rows)
            _copy(source, base, name)
        base.execute("VACUUM (ANALYZE)")
        prepare()
        low = capture(source, f"bench_{name}", name)
        file, offset, *_ = source.fetch("SHOW MASTER STATUS")[0]
        _write(source, workload, changes)
        yield Backlog(source, base, low, (str(file), int(offset)), ITEM.digest(source))


def _copy(source: MySqlDatabase, base: Database, schema: str) -> None:
    """The first rows, by a pipe."""
    from benchmarks.across_load import client, pipe

    read = client(source, "-B", "-N", "--quick", "-e", "SELECT * FROM item", source.name)
    copy = f"COPY {schema}.item FROM STDIN (NULL 'NULL')"
    pipe([read, [str(base.server.programs / "psql"), "-qX", base.url, "-c", copy]])


def _write(source: MySqlDatabase, workload: Workload, changes: int) -> None:
    """Make the changes, then the marker that tells when all has arrived."""
    size = max(1, workload.first(changes))
    # A procedure in the log ends pg_chameleon's reader.
    source.execute(f"""SET SESSION sql_log_bin = 0; CREATE PROCEDURE work() BEGIN
  DECLARE made, x, g, following bigint DEFAULT 0; DECLARE r double; DECLARE done bigint;
  SET following = {size} + 1;
  DO RAND(7); START TRANSACTION;
  WHILE made < {changes} DO
    SET x = 1 + FLOOR(RAND() * {size if workload.name != "my-mix" else "following"});
    {workload.body}
    SET made = made + 1;
    IF made % {workload.each} = 0 THEN COMMIT; START TRANSACTION; END IF;
  END WHILE; COMMIT; END""")
    with source.connect() as session, session.cursor() as cursor:
        # It is the reading that is measured.
        cursor.execute("SELECT @@innodb_flush_log_at_trx_commit")
        cursor.execute("SET GLOBAL innodb_flush_log_at_trx_commit = 2")
        cursor.execute("CALL work()")
        cursor.execute("INSERT INTO marker VALUES (1)")
        cursor.execute("SET GLOBAL innodb_flush_log_at_trx_commit = 1")


@contextmanager
def _target(backlog: Backlog) -> Iterator[Database]:
    """A copy of the first state, which must hold the last one at the end."""
    server, schema = backlog.base.server, backlog.source.name
    admin = Database(server, "postgres")
    name = f"{backlog.base.name}_copy"
    admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{backlog.base.name}" STRATEGY file_copy')
    admin.execute("CHECKPOINT")
    with Database(server, name) as database:
        yield database
        ITEM.check(backlog.content, database, schema)


def arrived(target: Database, schema: str, alive: Callable[[], bool]) -> None:
    """Wait until the marker, which comes last, is visible on the target."""
    deadline = time.monotonic() + DEADLINE
    with target.connect() as looker:
        while not looker.execute(f"SELECT 1 FROM {schema}.marker".encode()).fetchone():
            if time.monotonic() > deadline or not alive():
                raise PeerError("the changes did not arrive")
            time.sleep(PAUSE * 5)


def _ours(backlog: Backlog) -> Run:
    run = Run(0)
    source, schema = backlog.source, backlog.source.name
    with _target(backlog) as target:
        task = {"migration": f"bench_{schema}", "low": backlog.low, "include": f"{schema}.*"}
        worker = Worker("follow", source, target, **task)
        try:
            with metered(source.server, target.server, run):
                worker.go()
                arrived(target, schema, lambda: not worker.ended)
            told = worker.stop()
        except BaseException:
            worker.kill()
            raise
    run.client, run.memory = told["client"], told["memory"]
    run.more = {key: told[key] for key in ("transactions", "changes", "batches", "exceptions")}
    return run


def scaled(run: Run, scale: float) -> Run:
    """As if it had done all of it."""
    run.seconds, run.client = run.seconds * scale, run.client * scale
    run.source, run.target = run.source * scale, run.target * scale
    return run


def _plain(backlog: Backlog, scale: float) -> Run:
    python, schema = peers.python("plain"), backlog.source.name
    run = Run(0)
    with _target(backlog) as target:
        script = str(Path(__file__).with_name("peer_plain.py"))
        server = backlog.source.server
        task = {"port": server.port, "schema": schema, "place": backlog.place, "target": target.url}
        _peer([python, script, json.dumps(task)], backlog, target, run)
    return scaled(run, scale)


def _peer(command: list[str], backlog: Backlog, target: Database, run: Run, **options: Any) -> None:
    """Time a program until the marker is there, and end it."""
    server = backlog.source.server
    with tempfile.TemporaryFile("w+") as said, metered(server, target.server, run):
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, **options)
        try:
            arrived(target, backlog.source.name, lambda: process.poll() is None)
            run.client = tree_cpu(process.pid)
        except PeerError as cause:
            said.seek(0)
            raise PeerError(f"{cause}: {' '.join(said.read()[-300:].split())}") from cause
        finally:
            process.terminate()
            process.wait()


class Chameleon:
    """pg_chameleon: it copies the first rows itself, which is not measured."""

    def __init__(
        self, folder: Path, source: MySqlServer, target: PostgresServer, schema: str
    ) -> None:
        self._home = folder / "home"
        self._source, self._target, self._schema = source, target, schema
        self._database: Database | None = None
        self._reason = ""

    def prepare(self) -> None:
        """Have it copy, and remember the log's position."""
        try:
            program = str(Path(peers.python("chameleon")).with_name("chameleon"))
            places = [
                self._home / ".pg_chameleon" / n for n in ("configuration", "logs", "pid", "out")
            ]
            for place in places:
                place.mkdir(parents=True, exist_ok=True)
            self._database = self._target.create_database()
            place = places[0] / "default.yml"
            place.write_text(json.dumps(self._configuration(places[1], places[2], places[3])))
            # It refuses root: here root has another number.
            other = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
            self._command = [*(other if os.getuid() == 0 else []), program, "--config", "default"]
            self._do("create_replica_schema")
            self._do("add_source", "--source", "mysql")
            self._do("init_replica", "--source", "mysql", "--debug")
        except (PeerError, OSError, LookupError, subprocess.SubprocessError) as cause:
            self._reason = f"pg_chameleon cannot be had here: {' '.join(str(cause).split())}"

    def _do(self, *action: str) -> None:
        done = subprocess.run(
            [*self._command, *action],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            **self._options(),
        )
        if done.returncode:
            raise PeerError(f"{action[0]}: {(done.stdout + done.stderr)[-600:]}")

    def _options(self) -> dict[str, Any]:
        return {"env": {**os.environ, "HOME": str(self._home)}, "cwd": str(self._home)}

    def _configuration(self, logs: Path, pid: Path, out: Path) -> dict[str, Any]:
        assert self._database is not None
        end = {"host": "127.0.0.1", "password": "", "charset": "utf8", "connect_timeout": 10}
        there = {
            **end,
            "port": str(self._target.port),
            "user": "postgres",
            "password": "none",
            "database": self._database.name,
        }
        here = {**end, "port": str(self._source.port), "user": "root"}
        source = {
            "db_conn": here,
            "schema_mappings": {self._schema: self._schema},
            "limit_tables": [], "skip_tables": [], "grant_select_to": [],
            "lock_timeout": "120s", "my_server_id": 777,
            "replica_batch_size": 10000, "replay_max_rows": 10000, "batch_retention": "1 day",
            "copy_max_memory": "300M", "copy_mode": "file", "out_dir": str(out),
            "sleep_loop": 1, "on_error_replay": "continue", "on_error_read": "continue",
            "auto_maintenance": "disabled", "gtid_enable": False, "type": "mysql",
            "skip_events": {"insert": [], "delete": [], "update": []},
            "keep_existing_schema": False, "net_read_timeout": 600,
        }  # fmt: skip
        return {
            "pid_dir": str(pid), "log_dir": str(logs), "log_dest": "stdout", "log_level": "info",
            "log_days_keep": 1, "rollbar_key": "", "rollbar_env": "", "type_override": {},
            "pg_conn": there, "sources": {"mysql": source},
        }  # fmt: skip

    def drain(self, backlog: Backlog, scale: float) -> Run:
        """Time the changes; raises PeerError."""
        if self._reason or self._database is None:
            raise PeerError(self._reason)
        run = Run(0)
        command = [*self._command, "start_replica", "--source", "mysql", "--debug"]
        _peer(command, backlog, self._database, run, start_new_session=True, **self._options())
        ITEM.check(backlog.content, self._database, self._schema)
        return scaled(run, scale)

    def forget(self) -> None:
        """Remove its database."""
        if self._database is not None:
            self._database.drop()


def decoding(ends: Ends, *, changes: int, rounds: int) -> dict[str, Any]:
    """Reading the log alone, by one process: the library that others use, and we."""
    source, target = ends.mysql("source"), ends.postgres("target")
    workload, few = WORKLOADS[0], max(1000, changes // PART)
    with (
        _backlog(source, target, workload, few, "decode_few") as part,
        _backlog(source, target, workload, changes, "decode") as whole,
    ):

        def ours() -> Run:
            run, schema = Run(0), whole.source.name
            with whole.base.server.create_database() as database:
                task = {"migration": "bench_decode", "low": whole.low, "include": f"{schema}.*"}
                worker = Worker("decode", whole.source, database, **task)
                with metered(source, target, run):
                    worker.go()
                    told = worker.result()
            if told["changes"] != changes + 1:
                raise RuntimeError(f"{told['changes']} changes were read instead of {changes + 1}")
            run.client, run.memory = told["client"], told["memory"]
            return run

        def library() -> Run:
            python, run = peers.python("plain"), Run(0)
            task = {"port": source.port, "schema": part.source.name, "place": part.place}
            script = str(Path(__file__).with_name("peer_plain.py"))
            with metered(source, target, run):
                told = peers.run([python, script, json.dumps(task)], "/", "the library")
            done = json.loads(told.splitlines()[-1])
            if done["changes"] != few + 1:
                raise PeerError(f"the library read {done['changes']} changes of {few + 1}")
            run.seconds, run.client = done["seconds"], done["client"]
            return scaled(run, changes / few)

        told = contest(
            "decoding inserts", changes, rounds, {"godwit": ours},
            peers={f"python-mysql-replication ({few:,})": library},
        )  # fmt: skip
    return {"name": "my-decode", **told}


def beats(ends: Ends, *, rate: int, seconds: float, rounds: int) -> dict[str, Any]:
    """From before the commit was asked for until a reader on the target has the row."""
    source, target = ends.mysql("source"), ends.postgres("target")

    def ours() -> Run:
        run = Run(0)
        with source.create_database("beats") as here, target.create_database() as there:
            for side in (here, there):
                if side is there:
                    side.execute("CREATE SCHEMA beats")
                side.execute("CREATE TABLE beats.beat (id bigint PRIMARY KEY, v varchar(60))")
            task = {"migration": "bench_beats", "include": "beats.*"}
            worker = Worker(
                "follow", here, there, low=capture(here, "bench_beats", "beats"), **task
            )
            try:
                worker.go()
                _watched(here, there, rate, seconds, run)
                told = worker.stop()
            except BaseException:
                worker.kill()
                raise
        run.client, run.memory = told["client"], told["memory"]
        run.more["batches"] = told["batches"]
        return run

    title = f"MariaDB → PG at {rate} tx/s"
    return {"name": "my-latency", **contest(title, int(rate * seconds), rounds, {"godwit": ours})}


def _watched(here: MySqlDatabase, there: Database, rate: int, seconds: float, run: Run) -> None:
    seen: dict[int, float] = {}
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(there, seen, done))
    watcher.start()
    try:
        with metered(here.server, there.server, run):
            task = [str(here.server.port), here.name, str(rate), str(seconds)]
            script = [sys.executable, str(Path(__file__).with_name("beating.py")), *task]
            told = subprocess.run(script, capture_output=True, text=True, check=True).stdout
            sent = {int(k): float(v) for k, v in json.loads(told).items()}
            deadline = time.monotonic() + LATE
            while len(seen) < len(sent) and time.monotonic() < deadline:
                time.sleep(PAUSE)
    finally:
        done.set()
        watcher.join()
    if set(seen) != set(sent):
        raise RuntimeError(f"{len(sent)} rows were written, {len(seen)} arrived")
    first = min(sent.values()) + WARM
    lags = sorted(seen[n] - at for n, at in sent.items() if at >= first)
    run.more = {
        "samples": len(lags),
        "rate": len(sent) / seconds,
        **{f"p{p}": lags[min(len(lags) - 1, len(lags) * p // 100)] * 1000 for p in (50, 90, 99)},
    }


def _watch(target: Database, seen: dict[int, float], done: threading.Event) -> None:
    newest = 0
    with target.connect() as reader:
        while not done.wait(PAUSE):
            rows = reader.execute(
                "SELECT id FROM beats.beat WHERE id > %s", [newest - BEHIND], prepare=True
            ).fetchall()
            now = time.time()
            for (number,) in rows:
                seen.setdefault(number, now)
                newest = max(newest, number)
