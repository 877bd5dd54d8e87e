"""Full load between engines: our copy and our whole step against pipes and peers."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.across_ends import MYSQL, Ends, metered, timed
from benchmarks.across_tables import EVENT, LINEITEM, MIXED, AnyDatabase, Digest, Table
from benchmarks.contest import PeerError, Run, contest
from benchmarks.ours import Worker
from include.demo.identity import ServerError
from include.demo.mysql_servers import MARIADB, MySqlDatabase, MySqlServer
from include.demo.servers import ROOT, Database, PostgresServer

#: The database in MySQL and the schema in PostgreSQL that holds the tables.
SCHEMA = "bench"
PGLOADER = """\
LOAD DATABASE FROM mysql://root@127.0.0.1:{source}/{schema}
  INTO postgresql://postgres@127.0.0.1:{target}/{database}
WITH data only, workers = 4, concurrency = 1, batch size = 20MB, prefetch rows = 10000
SET search_path TO '{schema}'
INCLUDING ONLY TABLE NAMES MATCHING '{table}';
"""
Contenders = dict[str, Callable[[], Run]]


def to_postgres(ends: Ends, *, rows: int, rounds: int, slow: bool = True) -> list[dict[str, Any]]:
    """MySQL and MariaDB to PostgreSQL, rows only, into a table without keys."""
    found = []
    for table, count in ((EVENT, rows), (LINEITEM, rows), (MIXED, max(1000, rows // 4))):
        found.append(_into_postgres(ends, MARIADB, table, count, rounds, slow=slow))
    try:
        ends.mysql("source", MYSQL)
    except ServerError as cause:
        found.append(_absent(f"copy-my-{EVENT.name}-mysql", f"{EVENT.name}, {MYSQL} → PG", cause))
    else:
        found.append(_into_postgres(ends, MYSQL, EVENT, rows, rounds, slow=False))
    return found


def _absent(name: str, title: str, cause: Exception) -> dict[str, Any]:
    return {
        "name": name, "title": title, "amount": 0, "rounds": 0, "load": 0.0, "standings": [],
        "missing": {"the server": str(cause)},
    }  # fmt: skip


def _into_postgres(
    ends: Ends, product: str, table: Table, rows: int, rounds: int, *, slow: bool
) -> dict[str, Any]:
    server, target = ends.mysql("source", product), ends.postgres("target")
    with server.create_database(SCHEMA) as source:
        table.create(source, keys=True)
        table.fill(source, rows)
        wanted = table.digest(source)

        def into(one: Callable[[Database, Run], None]) -> Callable[[], Run]:
            def run() -> Run:
                with target.create_database() as database:
                    table.create(database, schema=SCHEMA)
                    target_run = Run(0)
                    one(database, target_run)
                    table.check(wanted, database, SCHEMA)
                return target_run

            return run

        def ours(streams: int) -> Callable[[], Run]:
            return into(lambda database, run: load(source, database, streams, run))

        contenders = {
            "mariadb -B | psql": into(partial(_pipe_to_postgres, source, table)),
            "godwit, 1 stream": ours(1),
            "godwit, 2 streams": ours(2),
        }
        others: Contenders = {}
        if slow:
            others["pgloader"] = into(partial(_pgloader, source, table))
            others["dlt, ConnectorX"] = _dlt(source, target, table, wanted)
        flavour = "MariaDB" if server.mariadb else "MySQL"
        title = f"{table.name}, {flavour} → PG"
        name = f"copy-my-{table.name}" + ("" if server.mariadb else "-mysql")
        return {"name": name, **contest(title, rows, rounds, contenders, peers=others)}


def load(source: AnyDatabase, target: AnyDatabase, streams: int, run: Run) -> None:
    """Our full-load step, in a process that is ready."""
    include = f"{SCHEMA}.*"
    task = {"migration": "bench_copy", "streams": streams, "include": include}
    worker = Worker("load", source, target, **task)
    try:
        with metered(source.server, target.server, run):
            worker.go()
            told = worker.result()
    except BaseException:
        worker.kill()
        raise
    run.client, run.memory, run.more = told["client"], told["memory"], {"chunks": told["chunks"]}


def pipe(commands: list[list[str]]) -> None:
    """Run one pipe; raises when any part fails."""
    line = " | ".join(shlex.join(command) for command in commands)
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=peers.environment(),
        check=False,
    )
    if done.returncode:
        raise PeerError(f"a pipe failed: {done.stderr[-300:]}")


def client(database: MySqlDatabase, *options: str, name: str = "mariadb") -> list[str]:
    """A client program of MariaDB's, which can log in to MySQL too."""
    where = ["-h127.0.0.1", f"-P{database.server.port}", "-uroot"]
    return [peers.program(name), "--no-defaults", *where, *options]


def _pipe_to_postgres(source: MySqlDatabase, table: Table, target: Database, run: Run) -> None:
    listed = ", ".join(
        f"CONCAT('\\\\x', HEX({c.name}))" if c.kind == "bytes" else c.name for c in table.columns
    )
    query = f"SELECT {listed} FROM {table.name}"
    if any(c.kind == "bytes" for c in table.columns):
        query = f"SET SESSION sql_mode = ''; {query}"
    read = client(source, "-B", "-N", "--quick", "--default-character-set=utf8mb4",
                  "-e", query, source.name)  # fmt: skip
    copy = f"COPY {SCHEMA}.{table.name} FROM STDIN (NULL 'NULL')"
    psql = [str(target.server.programs / "psql"), "-qX", target.url, "-c", copy]
    timed(source.server, target.server, run, lambda: pipe([read, psql]))


def _pgloader(source: MySqlDatabase, table: Table, target: Database, run: Run) -> None:
    program = peers.program("pgloader")
    with tempfile.TemporaryDirectory(prefix="godwit-bench-") as folder:
        Path(folder, "load").write_text(
            PGLOADER.format(
                source=source.server.port,
                target=target.server.port,
                database=target.name,
                schema=source.name,
                table=table.name,
            )
        )
        command = [program, "--no-ssl-cert-verification", "--root-dir", folder, f"{folder}/load"]
        timed(source.server, target.server, run, lambda: peers.run(command, folder, "pgloader"))


def _dlt(
    source: MySqlDatabase, server: PostgresServer, table: Table, wanted: Digest
) -> Callable[[], Run]:
    def run() -> Run:
        python = peers.python("dlt")
        told = Run(0)
        with (
            server.create_database() as target,
            tempfile.TemporaryDirectory(prefix="godwit-bench-") as folder,
        ):
            urls = [f"mysql+pymysql://root@127.0.0.1:{source.server.port}/{source.name}"]
            urls += [f"mysql://root@127.0.0.1:{source.server.port}/{source.name}"]
            # It wants a password, which nobody asks for.
            urls.append(target.url.replace("postgres@", "postgres:none@"))
            script = str(Path(__file__).with_name("peer_dlt.py"))
            command = [python, script, *urls, SCHEMA, table.name]
            timed(source.server, server, told, lambda: peers.run(command, folder, "dlt"))
            # It makes types of its own: only the number of rows is compared.
            (count,) = target.fetch(f"SELECT count(*) FROM {SCHEMA}.{table.name}")[0]
            if count != wanted[0]:
                raise PeerError(f"dlt moved {count} of {wanted[0]} rows")
        return told

    return run


def to_mysql(ends: Ends, *, rows: int, rounds: int) -> list[dict[str, Any]]:
    """PostgreSQL to MariaDB and MySQL, rows only, into a table with its primary key."""
    found = []
    for product, tables in ((MARIADB, (EVENT, LINEITEM)), (MYSQL, (EVENT,))):
        for table in tables:
            title = f"{table.name}, PG → {'MariaDB' if product == MARIADB else 'MySQL'}"
            name = f"copy-pg-{table.name}" + ("" if product == MARIADB else "-mysql")
            try:
                server = ends.mysql("target", product)
            except ServerError as cause:
                found.append(_absent(name, title, cause))
            else:
                one = _into_mysql(ends, server, table, rows, rounds, title)
                found.append({"name": name, **one})
    return found


def _into_mysql(
    ends: Ends, server: MySqlServer, table: Table, rows: int, rounds: int, title: str
) -> dict[str, Any]:
    with ends.postgres("source").create_database() as source:
        table.create(source, keys=True, schema=SCHEMA)
        with ends.mysql("target").create_database("made") as made:
            table.create(made)
            table.fill(made, rows)
            wanted = table.digest(made)
            _pipe_to_postgres(made, table, source, Run(0))
        source.execute("VACUUM (ANALYZE)")
        table.check(wanted, source, SCHEMA)

        def into(one: Callable[[MySqlDatabase, Run], None]) -> Callable[[], Run]:
            def run() -> Run:
                told = Run(0)
                with _fresh(server) as target:
                    table.create(target, keys=False)
                    target.execute(
                        f"ALTER TABLE {table.name} ADD PRIMARY KEY ({table.columns[0].name})"
                    )
                    one(target, told)
                    table.check(wanted, target)
                return told

            return run

        contenders = {
            "psql COPY | LOAD DATA": into(partial(_pipe_to_mysql, source, table)),
            "godwit, 1 stream": into(lambda target, run: load(source, target, 1, run)),
            "godwit, 2 streams": into(lambda target, run: load(source, target, 2, run)),
        }
        return contest(title, rows, rounds, contenders)


def _pipe_to_mysql(source: Database, table: Table, target: MySqlDatabase, run: Run) -> None:
    copy = f"COPY {SCHEMA}.{table.name} TO STDOUT"
    psql = [str(source.server.programs / "psql"), "-qX", source.url, "-c", copy]
    take = f"LOAD DATA LOCAL INFILE '/dev/stdin' INTO TABLE {table.name} CHARACTER SET utf8mb4"
    write = client(target, "--local-infile=1", "-e", take, target.name)
    timed(source.server, target.server, run, lambda: pipe([psql, write]))


@contextmanager
def _fresh(server: MySqlServer) -> Iterator[MySqlDatabase]:
    """An empty database; Godwit's own there is forgotten afterwards."""
    with server.create_database(SCHEMA) as database:
        yield database
    MySqlDatabase(server, "godwit").drop()


def between_mysql(ends: Ends, *, rows: int, rounds: int) -> list[dict[str, Any]]:
    """MariaDB to MariaDB: tables, keys, indexes and rows, two streams where there are streams."""
    tables = (EVENT, LINEITEM)
    server = ends.mysql("target")
    with ends.mysql("source").create_database(SCHEMA) as source:
        for table in tables:
            table.create(source, keys=True)
            table.fill(source, rows)
        wanted = {table: table.digest(source) for table in tables}

        def into(one: Callable[[MySqlDatabase, Run], None]) -> Callable[[], Run]:
            def run() -> Run:
                told = Run(0)
                with _fresh(server) as target:
                    one(target, told)
                    for table in tables:
                        table.check(wanted[table], target)
                return told

            return run

        contenders: Contenders = {
            "mysqldump | mariadb": into(partial(_dump, source)),
            "godwit run --until loaded": into(partial(_whole, source)),
        }
        others: Contenders = {"mydumper, myloader, 2 threads": into(partial(_mydumper, source))}
        told = contest(
            "event and lineitem, MariaDB → MariaDB",
            rows * len(tables),
            rounds,
            contenders,
            peers=others,
        )
        return [{"name": "whole-my", **told}]


def _dump(source: MySqlDatabase, target: MySqlDatabase, run: Run) -> None:
    options = ["--single-transaction", "--quick", "--skip-lock-tables", source.name]
    try:
        read = client(source, *options, name="mysqldump")
    except PeerError:
        read = client(source, *options, name="mariadb-dump")
    write = client(target, target.name)
    timed(source.server, target.server, run, lambda: pipe([read, write]))


def _mydumper(source: MySqlDatabase, target: MySqlDatabase, run: Run) -> None:
    where = ["-h", "127.0.0.1", "-u", "root", "-t", "2"]
    with tempfile.TemporaryDirectory(prefix="godwit-bench-") as folder:
        files = f"{folder}/dump"
        dump = [peers.program("mydumper"), *where, "-P", str(source.server.port), "-B", source.name]
        put = [peers.program("myloader"), *where, "-P", str(target.server.port), "-B", target.name]

        def both() -> None:
            peers.run([*dump, "-o", files, "-r", "100000"], folder, "mydumper")
            peers.run([*put, "-d", files, "-o"], folder, "myloader")

        timed(source.server, target.server, run, both)


def _whole(source: AnyDatabase, target: AnyDatabase, run: Run) -> None:
    timed(source.server, target.server, run, lambda: whole(source, target))


def whole(source: AnyDatabase, target: AnyDatabase, more: Mapping[str, Any] | None = None) -> None:
    """The command a person would type, Python's start included."""
    definition = {
        "name": "bench_whole",
        "migration_type": "full-load",
        "source": {"conn_id": "bench_source"},
        "target": {"conn_id": "bench_target"},
        "tables": {"include": [f"{SCHEMA}.*"]},
        **(more or {}),
    }
    with tempfile.TemporaryDirectory(prefix="godwit-bench-") as folder:
        file = Path(folder, "bench.yaml")
        # JSON is YAML.
        file.write_text(json.dumps(definition))
        command = [sys.executable, "-m", "godwit", "run", str(file), "--until", "loaded"]
        done = subprocess.run(
            [*command, "--streams", "2", "--json", "-q"],
            env={
                **os.environ,
                "AIRFLOW_CONN_BENCH_SOURCE": source.conn_uri,
                "AIRFLOW_CONN_BENCH_TARGET": target.conn_uri,
                "GODWIT_STATE_URL": f"sqlite:///{folder}/state.db",
                "PYTHONPATH": str(ROOT / "plugins"),
            },
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"godwit run: {done.stdout}{done.stderr}")
