"""The cases of a corpora folder that a server here can hold, and what their tools do."""

from __future__ import annotations

import json
import lzma
import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from include.demo.mysql_servers import MySqlDatabase
from include.demo.servers import Database, PostgresServer

AnyDatabase = Database | MySqlDatabase

POSTGRESQL = "postgresql"
MYSQL = "mysql"
EXTENSION = re.compile(rb'CREATE\s+EXTENSION\s+(?:IF\s+NOT\s+EXISTS\s+)?"?([\w-]+)', re.IGNORECASE)


class MissingProgramError(Exception):
    """A case needs a program that is not installed."""


def folder() -> Path:
    """The corpora folder."""
    return Path(os.environ["GODWIT_CORPORA"]).resolve()


def cases_of(engine: str) -> list[Case]:
    """Every case with a side of this engine, small ones first."""
    if not os.environ.get("GODWIT_CORPORA"):
        return []
    found = [Case(path.parent, engine) for path in sorted(folder().glob("*/*/case.toml"))]
    return sorted(
        (case for case in found if case.loads), key=lambda case: (case.rows_said, case.name)
    )


@dataclass(frozen=True)
class Case:
    """One case on one engine; its folder is never written to."""

    path: Path
    engine: str

    @cached_property
    def data(self) -> dict[str, Any]:
        return tomllib.loads((self.path / "case.toml").read_text())

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def kind(self) -> str:
        return str(self.data["kind"])

    @property
    def workload(self) -> bool:
        """Whether its changes come from a program that runs for a while."""
        return "workload" in self.data and self.engine in self.data["engine"]

    @property
    def loads(self) -> bool:
        return self.workload or self.engine in self.data.get("load", {})

    @property
    def streams(self) -> bool:
        """Whether it brings changes."""
        return self.workload or self.engine in self.data.get("stream", {})

    @property
    def moments(self) -> list[str]:
        """When its changes may come: during a run, between two, or while one follows.

        Without changes of its own, and where these reshape tables, rows are only touched.
        """
        if not self.streams:
            return ["touched"]
        return ["during", "between", "touched" if self.reshaped else "following"]

    @property
    def rows_said(self) -> int:
        return int(self.data.get("expected", {}).get(self.engine, {}).get("rows", 0))

    @cached_property
    def extensions(self) -> set[str]:
        """What the server must have."""
        load = self.data.get("load", {}).get(self.engine, {})
        named = set(load.get("extensions", []))
        for key in ("files", "schema", "data", "post"):
            for name in load.get(key, []):
                text = (self.path / name).read_bytes()
                text = lzma.decompress(text) if name.endswith(".xz") else text
                named |= {found.decode() for found in EXTENSION.findall(text)}
        return named

    def load(self, database: AnyDatabase) -> None:
        """Make the database anew, with everything the case has."""
        if self.workload:
            self._script("load", database)
        else:
            self._tool("load", database)

    def stream(self, database: AnyDatabase) -> None:
        """Apply the case's changes."""
        if self.workload:
            self._script("stream", database)
        else:
            self._tool("stream", database)

    def expected(self, *, after_stream: bool) -> dict[str, int]:
        """Rows by table as the case's authors counted them; empty when they did not."""
        return {name: t["rows"] for name, t in self._tables(after_stream=after_stream).items()}

    @property
    def reshaped(self) -> set[str]:
        """The tables whose columns the case's changes change."""
        if not self.streams:
            return set()
        before, after = self._tables(after_stream=False), self._tables(after_stream=True)
        return {name for name, t in before.items() if t["columns"] != after[name]["columns"]}

    def _tables(self, *, after_stream: bool) -> dict[str, Any]:
        ending = "-end" if after_stream and self.streams else ""
        path = self.path / f"expected{ending}.{self.engine}.json"
        found: dict[str, Any] = json.loads(path.read_text())["tables"] if path.exists() else {}
        return found

    def _tool(self, word: str, database: AnyDatabase) -> None:
        _corpus(database, word, str(self.path), "--engine", self.engine, "--db", database.name)

    def _script(self, word: str, database: AnyDatabase) -> None:
        script = self.path / "run.sh"
        text = script.read_text()
        # pgbench comes with the servers; other programs must be there.
        if "sysbench" in text and not shutil.which("sysbench"):
            raise MissingProgramError("this case needs the program sysbench")
        engine = {POSTGRESQL: "pgsql", MYSQL: "mysql"}[self.engine]
        run = subprocess.run(
            [str(script), word, *([engine] if "pgsql" in text else []), database.name],
            capture_output=True,
            text=True,
            timeout=170,
            check=False,
            env={**_environment(database), "SECONDS_": "6"},
        )
        assert run.returncode == 0, run.stdout + run.stderr


def inventory(database: AnyDatabase) -> dict[str, Any]:
    """Everything the corpora's tool sees in a database, without Godwit's control tables."""
    engine = MYSQL if isinstance(database, MySqlDatabase) else POSTGRESQL
    text = _corpus(database, "inventory", "--engine", engine, "--db", database.name)
    found: dict[str, Any] = json.loads(text)
    for kind, objects in found.items():
        if isinstance(objects, dict):
            found[kind] = {k: v for k, v in objects.items() if not k.startswith("godwit.")}
        elif isinstance(objects, list):
            found[kind] = [name for name in objects if not name.startswith("godwit.")]
    return found


def _corpus(database: AnyDatabase, *words: str) -> str:
    run = subprocess.run(
        [sys.executable, str(folder() / "tools" / "corpus.py"), *words],
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
        env=_environment(database),
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def _environment(database: AnyDatabase) -> dict[str, str]:
    """How the tools reach a database's server."""
    if isinstance(database, MySqlDatabase):
        return _with_client(database.server.port)
    programs, port = _with_psql(database.server), database.server.port
    return {
        **programs,
        "CORPUS_PG": f"-h 127.0.0.1 -p {port} -U postgres",
        "PGBENCH": str(shutil.which("pgbench", path=programs["PATH"])),
        "PGHOST": "127.0.0.1",
        "PGPORT": str(port),
        "PGUSER": "postgres",
        "PG_ARGS": f"--pgsql-host=127.0.0.1 --pgsql-port={port} --pgsql-user=postgres",
    }


def _with_client(port: int) -> dict[str, str]:
    """The environment in which `mariadb` or `mysql` reaches the server on this port."""
    client = next(filter(shutil.which, ("mariadb", "mysql")), None)
    if client is None:
        raise MissingProgramError("neither mariadb nor mysql is in PATH (mariadb-client)")
    return {
        **os.environ,
        "CORPUS_MYSQL": f"-h 127.0.0.1 -P {port} -uroot",
        "CORPUS_MYSQL_CLIENT": client,
        "MYSQL_ARGS": f"--mysql-host=127.0.0.1 --mysql-port={port} --mysql-user=root",
    }


def _with_psql(server: PostgresServer) -> dict[str, str]:
    """The environment in which psql and pgbench are found: the server's own, else any."""
    path = f"{server.programs}{os.pathsep}{os.environ['PATH']}"
    if not shutil.which("psql", path=path):
        raise MissingProgramError(f"psql is neither in {server.programs} nor in PATH")
    return {**os.environ, "PATH": path}
