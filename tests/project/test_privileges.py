"""The scripts of docs/operations.md are enough: logins with these rights run whole migrations."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from psycopg import sql

from godwit.migrator import Migrator, run_until
from godwit.model.definition import parse_definition
from godwit.model.endpoint import Connection, connection_from_text
from include.demo.servers import ROOT, Database
from include.demo.shop import load_shop
from tests.pair import Events

SCRIPTS: dict[str, str] = dict(
    re.findall(
        r"<!-- script: ([\w-]+) -->\n```sql\n(.*?)^```",
        (ROOT / "docs" / "operations.md").read_text(encoding="utf-8"),
        re.DOTALL | re.MULTILINE,
    )
)


@dataclass
class Side:
    """A database and the names that stand for those of the page on this server."""

    database: Database
    names: dict[str, str] = field(default_factory=dict)

    def run(self, script: str, *, role: str | None = None) -> None:
        text = SCRIPTS[script]
        for name, stands_for in {**self.names, "shop": self.database.name}.items():
            text = re.sub(rf"(?<=[ ,]){name}(?=[ ,;])", stands_for, text)
        with self.database.connect() as connection:
            if role:
                connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
            connection.execute(text.encode())

    def connection(self, conn_id: str) -> Connection:
        uri = self.database.conn_uri.replace("postgres@", f"{self.names['godwit']}@")
        return connection_from_text(conn_id, uri)


@contextmanager
def roles(database: Database, *names: str) -> Iterator[Side]:
    """Names for the page's roles, dropped at the end with all they have."""
    side = Side(database, {name: f"{name}_{secrets.token_hex(4)}" for name in names})
    try:
        yield side
    finally:
        for role in side.names.values():
            here = "SELECT 1 FROM pg_roles WHERE rolname = %s"
            if database.fetch(here, [role]):
                database.execute(f"ALTER DATABASE {database.name} OWNER TO postgres")
                database.execute(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


@pytest.fixture
def sides(source_db: Database, target_db: Database) -> Iterator[tuple[Side, Side]]:
    with ExitStack() as stack:
        source = stack.enter_context(roles(source_db, "godwit", "shop_owner"))
        target = stack.enter_context(roles(target_db, "godwit"))
        owner = source.names["shop_owner"]
        source_db.execute(
            f"CREATE ROLE {owner} LOGIN; ALTER DATABASE {source_db.name} OWNER TO {owner};"
            f"GRANT ALL ON SCHEMA public TO {owner}"
        )
        load_shop(source_db.url.replace("postgres@", f"{owner}@"), 0.01)
        yield source, target


def migrate(left: Side, right: Side, **definition: Any) -> Events:
    """A whole migration, with a change in between and nothing left behind."""
    ends = {"s": left.connection("s"), "t": right.connection("t")}
    data = {
        "name": "shop",
        "migration_type": "full-load-and-cdc",
        "target": {"conn_id": "t"},
        "tables": {"include": ["public.*", "crm.*"], "exclude": ["public.coupons"]},
        **definition,
    }
    events = Events()
    with Migrator(parse_definition(data, "t.yaml"), ends.__getitem__, events) as migrator:
        run_until(migrator, "caught-up")
        left.database.execute("UPDATE categories SET title = title || '!'")
        outcome = run_until(migrator, "cutover")
        assert outcome.cutover is not None
        assert outcome.cutover.validation is not None
        assert outcome.cutover.validation.equal
        broken = [o for o in migrator.finish_schema().objects if o.state in {"failed", "missing"}]
        assert not broken
        migrator.fall_back()
        assert migrator.cleanup()
    assert not left.database.fetch(
        "SELECT 1 FROM pg_replication_slots WHERE database = current_database()"
    )
    return events


def prepare_target(target: Side) -> None:
    for script in ("target", "target-schemas"):
        target.run(script)
    with target.database.connect() as connection:
        newer = connection.info.server_version >= 150000
    if newer:
        target.run("target-silent")


@pytest.mark.parametrize("fence", ["read-only", "revoke"])
def test_a_login_of_the_owner_s_role(sides: tuple[Side, Side], fence: str) -> None:
    source, target = sides
    for script in ("source", "source-publishes"):
        source.run(script)
    if fence == "read-only":
        source.run("source-fence-read-only")
    prepare_target(target)
    migrate(source, target, source={"conn_id": "s"}, cutover={"fence": fence})


def test_a_login_that_can_only_read(sides: tuple[Side, Side]) -> None:
    source, target = sides
    source.run("source")
    source.run("source-row-security")
    source.run("source-publication", role=source.names["shop_owner"])
    prepare_target(target)
    login = source.connection("s")
    url = f"postgresql://{login.login}@{login.host}:{login.port}/{login.database}"
    with psycopg.connect(url) as session, pytest.raises(psycopg.errors.InsufficientPrivilege):
        session.execute("UPDATE categories SET title = title")
    settings = {"PublicationName": "godwit_shop"}
    migrate(
        source,
        target,
        source={"conn_id": "s", "settings": settings},
        cutover={"fence": "none"},
    )
    assert source.database.fetch("SELECT pubname FROM pg_publication") == [("godwit_shop",)]


def test_every_script_is_tried() -> None:
    text = (ROOT / "tests" / "project" / "test_privileges.py").read_text(encoding="utf-8")
    ours = [name for name in SCRIPTS if not name.startswith(("mysql-", "mariadb-"))]
    assert len(ours) == 8
    assert not [name for name in ours if f'"{name}"' not in text]
