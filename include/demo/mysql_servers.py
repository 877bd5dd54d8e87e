"""Embedded MariaDB and MySQL servers for the demo, the tests and the benchmarks.

MariaDB 10.11 is the system's own (`mariadb-server-core`) or, like every other version, comes from
`scripts/fetch-mysql.sh`. A server listens on a free port of 127.0.0.1, has a user `root` without a
password, keeps a row log that can be followed, and ends with the process that started it.

    server = MySqlServer.start("mariadb-10.11", Path("/tmp/source"))
    with server.create_database("shop") as shop:
        shop.execute("CREATE TABLE t (id int)")
    server.stop()
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any, Self

import pymysql
from pymysql.constants import CLIENT

from include.demo.identity import ServerError
from include.demo.supervised import crash, finish, free_port, log_tail, supervised

ROOT = Path(__file__).resolve().parent.parent.parent
START_SECONDS = 90.0
POLL_SECONDS = 0.02

MARIADB = "mariadb-10.11"
SETTINGS = {
    "server-id": "1",
    "log-bin": "binlog",
    "binlog-format": "ROW",
    "binlog-row-image": "FULL",
    "binlog-row-metadata": "FULL",
    "character-set-server": "utf8mb4",
    "local-infile": "ON",
    "max-connections": "200",
}
_FLAVOUR = {
    "mariadb": {"gtid-strict-mode": "ON", "innodb-log-file-size": "64M"},
    "mysql": {
        "gtid-mode": "ON",
        "enforce-gtid-consistency": "ON",
        "performance-schema": "OFF",
        "mysqlx": "OFF",
        "secure-file-priv": "",
        "innodb-redo-log-capacity": "128M",
    },
}


def quoted(name: str) -> str:
    """An identifier in backticks."""
    return "`" + name.replace("`", "``") + "`"


@dataclass(frozen=True)
class Programs:
    """Where a product's programs are.

    Attributes:
        server: `mariadbd` or `mysqld`.
        base: the folder that it takes for its installation.
        fetched: made by scripts/fetch-mysql.sh.
    """

    server: Path
    base: Path
    fetched: bool

    @classmethod
    def find(cls, product: str) -> Self:
        """The programs of e.g. ``mariadb-10.11``; raises ServerError with what to do."""
        name = "mariadbd" if product.startswith("mariadb") else "mysqld"
        folder = ROOT / ".cache" / "mysql" / product
        places = [(folder / "usr/sbin" / name, folder / "usr", True)]
        if product == MARIADB:
            places.append((Path("/usr/sbin/mariadbd"), Path("/usr"), False))
        for server, base, fetched in places:
            if server.exists():
                return cls(server, base, fetched)
        raise ServerError(f"no {product} here. Fetch it: scripts/fetch-mysql.sh {product}")


@dataclass
class MySqlServer:
    """One running server. Made by `start`; `stop` and `kill` end it, its folder stays."""

    product: str
    folder: Path
    port: int
    pid: int
    _supervisor: subprocess.Popen[str] = field(repr=False)

    @property
    def mariadb(self) -> bool:
        """The flavour."""
        return self.product.startswith("mariadb")

    @classmethod
    def start(cls, product: str, folder: Path, *, port: int = 0, **settings: str) -> Self:
        """Start a server on the data in `folder`, which is made at first.

        A second start in the same folder finds the databases again (after `kill`: by recovery).
        `port` 0 takes a free one; `settings` are the server's own, with underscores. Raises
        ServerError.
        """
        programs = Programs.find(product)
        folder = folder.resolve()
        (folder / "tmp").mkdir(parents=True, exist_ok=True)
        common = _common(product, programs, folder)
        _init(product, programs, folder, common)
        number = port or free_port()
        chosen = {**SETTINGS, **_FLAVOUR[product.partition("-")[0]]}
        chosen |= {name.replace("_", "-"): value for name, value in settings.items()}
        command = [str(programs.server), *common, f"--port={number}", "--bind-address=127.0.0.1"]
        command += [f"--{name}={value}" for name, value in chosen.items()]
        # A killed server's own log decides what was committed: that is what SIGKILL tests.
        supervisor, pid = supervised(command, folder, stop=SIGTERM, crash=SIGKILL)
        server = cls(product, folder, number, pid, supervisor)
        server._wait_until_ready()
        return server

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(pymysql.Error, OSError):
                self.connect().close()
                return
            if self._supervisor.poll() is not None or time.monotonic() > deadline:
                raise ServerError(
                    f"{self.product} in {self.folder} did not start on port {self.port}:\n"
                    f"{log_tail(self.folder)}"
                )
            time.sleep(POLL_SECONDS)

    def connect(self, database: str | None = None, **options: Any) -> pymysql.Connection[Any]:
        """A new connection of `root`, autocommit unless told otherwise."""
        chosen: dict[str, Any] = {
            "autocommit": True,
            "charset": "utf8mb4",
            "client_flag": CLIENT.MULTI_STATEMENTS,
            **options,
        }
        return pymysql.connect(
            host="127.0.0.1", port=self.port, user="root", database=database, **chosen
        )

    def conn_uri(self, database: str = "") -> str:
        """One of its databases as an Airflow connection, for AIRFLOW_CONN_<ID>."""
        return f"mysql://root@127.0.0.1:{self.port}/{database}"

    def create_database(self, name: str | None = None) -> MySqlDatabase:
        """Make an empty database; without a name it gets one of its own."""
        name = name or f"db_{secrets.token_hex(5)}"
        with self.connect() as connection:
            connection.cursor().execute(f"CREATE DATABASE {quoted(name)}")
        return MySqlDatabase(self, name)

    @property
    def running(self) -> bool:
        """Whether the server's process is there."""
        return self._supervisor.poll() is None

    def stop(self) -> None:
        """Shut down in good order, and wait until it is gone."""
        self._supervisor.terminate()
        finish(self._supervisor)

    def kill(self) -> None:
        """End it at once, as a crash does; the next start recovers from the log."""
        crash(self._supervisor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()


@dataclass(frozen=True)
class MySqlDatabase:
    """One database on a server of ours."""

    server: MySqlServer
    name: str

    @property
    def conn_uri(self) -> str:
        """The Airflow connection, for AIRFLOW_CONN_<ID>."""
        return self.server.conn_uri(self.name)

    def connect(self, **options: Any) -> pymysql.Connection[Any]:
        """A new connection, autocommit unless told otherwise."""
        return self.server.connect(self.name, **options)

    def execute(self, statement: str, values: Any = None) -> None:
        """Run one statement, or several, and commit."""
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(statement, values)
            # An error of a later statement shows only when its result is asked for.
            while cursor.nextset():
                pass

    def fetch(self, statement: str, values: Any = None) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(statement, values)
            return list(cursor.fetchall())

    def drop(self) -> None:
        """Remove the database."""
        with self.server.connect() as connection:
            connection.cursor().execute(f"DROP DATABASE IF EXISTS {quoted(self.name)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.drop()


def _common(product: str, programs: Programs, folder: Path) -> list[str]:
    """Options that making the data and serving them share."""
    options = ["--no-defaults", f"--basedir={programs.base}", f"--datadir={folder / 'data'}"]
    options += [f"--tmpdir={folder / 'tmp'}", f"--pid-file={folder / 'pid'}"]
    # Relative to the data: a socket's path may have 107 characters, which a temporary folder easily
    # passes.
    options.append("--socket=sock")
    if os.getuid() == 0:
        options.append("--user=root")
    if programs.fetched:
        messages = "mariadb" if product.startswith("mariadb") else "mysql"
        options.append(f"--lc-messages-dir={programs.base / 'share' / messages}")
        options.append(f"--plugin-dir={programs.base / 'lib/mysql/plugin'}")
    return options


def _init(product: str, programs: Programs, folder: Path, common: list[str]) -> None:
    """Make the data unless the folder has them."""
    data = folder / "data"
    done = folder / "initialised"
    if done.exists():
        return
    shutil.rmtree(data, ignore_errors=True)
    script = None
    command = [str(programs.server), *common]
    if product.startswith("mariadb"):
        # What `mariadb-install-db` does, without the tools that it wants.
        (data / "mysql").mkdir(parents=True)
        script = _system_tables(programs)
        command += ["--bootstrap", "--innodb-log-file-size=64M", "--max-allowed-packet=8M"]
    else:
        command += ["--initialize-insecure", "--mysqlx=OFF", "--secure-file-priv="]
        command += ["--innodb-redo-log-capacity=128M"]
    ran = subprocess.run(
        command, input=script, capture_output=True, text=True, check=False, cwd="/"
    )
    if ran.returncode:
        raise ServerError(f"the data of {product} could not be made:\n{ran.stdout}{ran.stderr}")
    done.touch()


def _system_tables(programs: Programs) -> str:
    """The SQL that makes the server's own tables, with a `root` who needs no password."""
    names = ("system_tables", "performance_tables", "system_tables_data")
    parts = ["CREATE DATABASE IF NOT EXISTS mysql;\nUSE mysql;\nSET @auth_root_socket = NULL;"]
    for name in names:
        for folder, prefix in (("mariadb", "mariadb"), ("mysql", "mysql")):
            file = programs.base / "share" / folder / f"{prefix}_{name}.sql"
            if file.exists():
                parts.append(file.read_text())
                break
        else:
            raise ServerError(f"{programs.base} has no {name}.sql")
    return "\n".join(parts)
