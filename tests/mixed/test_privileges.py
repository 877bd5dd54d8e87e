"""The scripts of docs/operations.md for MySQL and MariaDB are enough, and none of it is too much."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from godwit.errors import GodwitError
from godwit.migrator import Migrator, run_until
from godwit.model.definition import parse_definition
from godwit.model.endpoint import Connection, connection_from_text
from include.demo.mysql_servers import MySqlDatabase
from include.demo.servers import ROOT, Database
from tests.pair import Events

SCRIPTS: dict[str, str] = dict(
    re.findall(
        r"<!-- script: ((?:mysql|mariadb)-[\w-]+) -->\n```sql\n(.*?)^```",
        (ROOT / "docs" / "operations.md").read_text(encoding="utf-8"),
        re.DOTALL | re.MULTILINE,
    )
)
SOURCE = ("source", "source-changes", "source-keyless", "source-process")
TARGET = ("target", "target-code", "target-local")
TABLES = """
CREATE TABLE customers (id int AUTO_INCREMENT PRIMARY KEY, name varchar(40), seen datetime(3));
CREATE TABLE orders (id int AUTO_INCREMENT PRIMARY KEY, customer int NOT NULL, total decimal(10,2),
  KEY by_customer (customer), FOREIGN KEY (customer) REFERENCES customers (id) ON DELETE CASCADE);
CREATE TABLE visits (at datetime, page varchar(20));
INSERT INTO customers (name) VALUES ('Ada'), ('Bo'), ('Cy');
INSERT INTO orders (customer, total) VALUES (1, 1.5), (2, 2), (3, 3), (3, 4);
INSERT INTO visits VALUES ('2024-01-01', 'home'), ('2024-01-01', 'home');
"""
CODE = """
CREATE VIEW open_orders AS SELECT id, total FROM orders WHERE total > 1;
CREATE TRIGGER greet BEFORE INSERT ON customers FOR EACH ROW SET NEW.seen = '2024-01-01';
CREATE EVENT tidy ON SCHEDULE EVERY 1 DAY DISABLE DO DELETE FROM visits WHERE page = '';
"""
CHANGES = """
UPDATE orders SET total = total + 1; DELETE FROM customers WHERE id = 3;
INSERT INTO customers (name) VALUES ('Di'); UPDATE customers SET id = 40 WHERE name = 'Di';
INSERT INTO visits VALUES ('2024-01-02', 'cart'); DELETE FROM visits WHERE page = 'home' LIMIT 1;
"""


@dataclass(frozen=True)
class Login:
    """An account with the rights of the scripts that are run for it, and no others."""

    database: MySqlDatabase
    user: str

    def run(self, *scripts: str) -> None:
        for name in scripts:
            self.database.execute(self.said(name))

    def said(self, script: str) -> str:
        """A script with the names of this server: of MySQL, or MariaDB's own where there is one."""
        own = f"mariadb-{script}" if self.database.server.mariadb else f"mysql-{script}"
        text = SCRIPTS.get(own) or SCRIPTS[f"mysql-{script}"]
        text = text.replace("'godwit'@'%'", f"'{self.user}'@'%'").replace("…", "pass")
        return text.replace("ON shop.*", f"ON {self.database.name}.*")

    def privileges(self, script: str) -> list[tuple[str, str]]:
        """What a script grants, one by one: privilege and place."""
        found = re.findall(r"GRANT ([\w,\s]+?)\s+ON (\S+)\s+TO", self.said(script))
        return [(one.strip(), place) for many, place in found for one in many.split(",")]

    def revoke(self, privilege: str, place: str) -> None:
        self.database.execute(f"REVOKE {privilege} ON {place} FROM '{self.user}'@'%'")

    def connection(self, conn_id: str) -> Connection:
        uri = self.database.conn_uri.replace("root@", f"{self.user}:pass@")
        return connection_from_text(conn_id, uri)


@contextmanager
def login(database: MySqlDatabase) -> Iterator[Login]:
    user = f"mover_{secrets.token_hex(4)}"
    try:
        yield Login(database, user)
    finally:
        database.execute(f"DROP USER IF EXISTS '{user}'@'%'")


@pytest.fixture
def source(mysql_source: MySqlDatabase) -> Iterator[Login]:
    mysql_source.execute(TABLES)
    with login(mysql_source) as made:
        yield made
    for setting in ("super_read_only", "read_only"):
        if setting == "read_only" or not mysql_source.server.mariadb:
            mysql_source.execute(f"SET GLOBAL {setting} = OFF")


@pytest.fixture
def target(mysql_target: MySqlDatabase) -> Iterator[Login]:
    with login(mysql_target) as made:
        yield made
    mysql_target.execute("SET GLOBAL log_bin_trust_function_creators = OFF")


@contextmanager
def migrating(left: Login, right: Connection, into: str, **changed: Any) -> Iterator[Migrator]:
    ends = {"s": left.connection("s"), "t": right}
    rules = [
        {
            "rule-type": "selection", "rule-id": "1", "rule-name": "all", "rule-action": "include",
            "object-locator": {"schema-name": left.database.name, "table-name": "%"},
        },
        {
            "rule-type": "transformation", "rule-id": "2", "rule-name": "into",
            "rule-target": "schema", "rule-action": "rename", "value": into,
            "object-locator": {"schema-name": left.database.name},
        },
    ]  # fmt: skip
    data = {
        "name": f"m_{left.user}",
        "migration_type": "full-load-and-cdc",
        "source": {"conn_id": "s"},
        "target": {"conn_id": "t"},
        "table_mappings": {"rules": rules},
        **changed,
    }
    with Migrator(parse_definition(data, "t.yaml"), ends.__getitem__, Events()) as migrator:
        yield migrator


def migrate(left: Login, right: Connection, into: str, **changed: Any) -> None:
    """A whole migration, with changes in between."""
    with migrating(left, right, into, **changed) as migrator:
        run_until(migrator, "caught-up")
        left.database.execute(CHANGES)
        outcome = run_until(migrator, "cutover")
        assert outcome.cutover is not None
        assert outcome.cutover.validation is not None
        assert outcome.cutover.validation.equal
        wrong = [o for o in migrator.finish_schema().objects if o.state in {"failed", "missing"}]
        assert not wrong
        migrator.fall_back()
        migrator.cleanup()


@pytest.mark.parametrize("fence", ["read-only", "revoke", "none"])
def test_from_mysql_to_mysql(source: Login, target: Login, fence: str) -> None:
    source.database.execute(CODE)
    source.run(*SOURCE)
    if fence != "none":
        source.run(f"fence-{fence}")
    target.run(*TARGET)
    migrate(source, target.connection("t"), target.database.name, cutover={"fence": fence})
    if source.database.server.mariadb == target.database.server.mariadb:
        assert target.database.fetch("SELECT COUNT(*) > 0 FROM open_orders") == [(1,)]
        assert len(target.database.fetch("SHOW TRIGGERS")) == 1


def test_from_mysql_to_another_engine(source: Login, target_db: Database) -> None:
    source.database.execute(CODE)
    source.run(*SOURCE)
    right = connection_from_text("t", target_db.conn_uri)
    migrate(source, right, "moved", cutover={"fence": "none"})
    assert target_db.fetch("SELECT count(*) FROM moved.customers") == [(3,)]


def test_loading_alone_needs_to_read_only(source: Login, target_db: Database) -> None:
    right = connection_from_text("t", target_db.conn_uri)
    source.run("source")
    with migrating(source, right, "moved", migration_type="full-load") as migrator:
        with pytest.raises(GodwitError, match=r"GRANT LOCK TABLES .*GRANT REPLICATION CLIENT"):
            run_until(migrator, "loaded")
        source.run("source-keyless")
        run_until(migrator, "loaded")
    assert target_db.fetch("SELECT count(*) FROM moved.visits") == [(2,)]


def test_tables_with_keys_need_nothing_else(source: Login, target_db: Database) -> None:
    source.database.execute("DROP TABLE visits")
    source.run("source")
    right = connection_from_text("t", target_db.conn_uri)
    with migrating(source, right, "moved", migration_type="full-load") as migrator:
        run_until(migrator, "loaded")
    assert target_db.fetch("SELECT count(*) FROM moved.orders") == [(4,)]


@pytest.mark.parametrize("script", ["source", "source-changes", "source-keyless"])
def test_what_the_source_lacks_is_named(source: Login, target_db: Database, script: str) -> None:
    source.run(*SOURCE)
    right = connection_from_text("t", target_db.conn_uri)
    for privilege, place in source.privileges(script):
        source.revoke(privilege, place)
        assert_named(source, right, privilege)
        source.run(*[name for name in SOURCE if name != "source"])
        source.database.execute(f"GRANT {privilege} ON {place} TO '{source.user}'@'%'")


def assert_named(source: Login, right: Connection, privilege: str) -> None:
    """An error or a finding tells what to grant, in the server's own words."""
    known = {privilege, *({"BINLOG MONITOR"} if privilege == "REPLICATION CLIENT" else ())}
    with migrating(source, right, "moved") as migrator:
        try:
            told = [finding.hint for finding in migrator.configure_endpoints()]
        except GodwitError as error:
            told = [str(error)]
    assert any(re.search(rf"GRANT [\w, ]*\b{p}\b", text) for p in known for text in told), (
        privilege,
        told,
    )


def test_what_the_target_lacks_is_named(source: Login, target: Login) -> None:
    source.run(*SOURCE)
    target.run("target")
    for privilege, place in target.privileges("target"):
        target.revoke(privilege, place)
        with (
            migrating(source, target.connection("t"), target.database.name) as migrator,
            pytest.raises(GodwitError, match=granted(privilege, place)),
        ):
            migrator.configure_endpoints()
        target.database.execute(f"GRANT {privilege} ON {place} TO '{target.user}'@'%'")


def granted(privilege: str, place: str) -> str:
    return rf"GRANT [\w, ]*\b{privilege}\b[\w, ]* ON `{place.split('.', maxsplit=1)[0]}`"


@pytest.mark.parametrize(
    ("fence", "lacking"),
    [("read-only", "PROCESS"), ("read-only", "READ ONLY ADMIN"), ("revoke", "GRANT OPTION")],
)
def test_what_a_fence_lacks_is_named(
    source: Login, target_db: Database, fence: str, lacking: str
) -> None:
    source.run(*SOURCE[:-1])
    if lacking == "PROCESS":
        source.run(f"fence-{fence}")
    else:
        source.run("source-process")
    right = connection_from_text("t", target_db.conn_uri)
    if fence == "revoke":
        source.database.execute(
            f"GRANT INSERT ON {source.database.name}.orders TO '{source.user}'@'%'"
        )
    if lacking == "READ ONLY ADMIN" and not source.database.server.mariadb:
        lacking = "SYSTEM_VARIABLES_ADMIN"
    with migrating(source, right, "moved", cutover={"fence": fence}) as migrator:
        run_until(migrator, "caught-up")
        with pytest.raises(GodwitError, match=f"GRANT .*{lacking}"):
            migrator.cutover()
        migrator.fall_back()
        migrator.cleanup()
    source.database.execute("INSERT INTO visits VALUES (NULL, 'still open')")


def test_prepared_transactions_are_seen(source: Login, target_db: Database) -> None:
    """MySQL shows them to few; without that right it is said that nobody looked."""
    source.run(*SOURCE)
    right = connection_from_text("t", target_db.conn_uri)
    codes = []
    with migrating(source, right, "moved") as migrator:
        codes = [finding.code for finding in migrator.configure_endpoints()]
    assert ("xa-unseen" in codes) == (not source.database.server.mariadb)
    if not source.database.server.mariadb:
        source.run("source-xa")
    with source.database.connect() as session, session.cursor() as cursor:
        for word in ("START", "END", "PREPARE"):
            cursor.execute(f"XA {word} 'early'")
        try:
            with (
                migrating(source, right, "moved") as migrator,
                pytest.raises(GodwitError, match="transactions are prepared"),
            ):
                migrator.configure_endpoints()
        finally:
            cursor.execute("XA ROLLBACK 'early'")


def test_every_script_is_tried() -> None:
    tried = {f"mysql-{name}" for name in (*SOURCE, *TARGET, "source-xa")}
    tried |= {"mysql-fence-read-only", "mariadb-fence-read-only", "mysql-fence-revoke"}
    assert set(SCRIPTS) == tried
