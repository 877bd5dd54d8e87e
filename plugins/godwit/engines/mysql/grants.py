"""What an account may do, as SHOW GRANTS tells it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import pymysql

from godwit.engines.mysql.connection import Session

_GRANT = re.compile(
    r"GRANT (?P<what>.+?) ON (?P<where>(?:`(?:[^`]|``)*`|\*)\.(?:`(?:[^`]|``)*`|\*)) TO "
)
_COLUMNS = re.compile(r"\s*\([^)]*\)")
_ALL = "ALL PRIVILEGES"


@dataclass(frozen=True)
class Grants:
    """Privileges by the place they are for: `(database pattern, table)`, ``*`` for all."""

    account: str
    held: tuple[tuple[str, str, frozenset[str]], ...]

    def everywhere(self, *wanted: str) -> bool:
        """Whether one of these names of a privilege is held on the whole server."""
        return any(
            place == ("*", "*") and ({_ALL, *wanted} & privileges)
            for *place_, privileges in self.held
            for place in [tuple(place_)]
        )

    def on_database(self, database: str, privilege: str) -> bool:
        """Whether it is held on every table of the database."""
        return any(
            table == "*" and _matches(pattern, database) and ({_ALL, privilege} & privileges)
            for pattern, table, privileges in self.held
        )


def read_grants(session: Session) -> Grants:
    """The privileges of the session's account, those of its active roles included."""
    account = str(session.value("SELECT CURRENT_USER()"))
    lines = [str(row[0]) for row in session.rows("SHOW GRANTS")]
    with suppress(pymysql.MySQLError):
        # MariaDB shows them with the account's own.
        roles = str(session.value("SELECT CURRENT_ROLE()") or "NONE")
        if roles.startswith("`"):
            shown = session.rows(f"SHOW GRANTS FOR CURRENT_USER() USING {roles}")
            lines += [str(row[0]) for row in shown]
    user, _, host = account.rpartition("@")
    return Grants(f"'{user}'@'{host}'", tuple(_read(lines)))


def _read(lines: list[str]) -> Iterator[tuple[str, str, frozenset[str]]]:
    for line in lines:
        match = _GRANT.match(line)
        if match is None:
            continue
        database, table = re.findall(r"`(?:[^`]|``)*`|\*", match["where"])
        privileges = _COLUMNS.sub("", match["what"]).split(",")
        yield _name(database), _name(table), frozenset(p.strip().upper() for p in privileges)


def _name(text: str) -> str:
    return text[1:-1].replace("``", "`") if text.startswith("`") else text


def _matches(pattern: str, database: str) -> bool:
    """Names of databases in grants are patterns: ``%``, ``_``, and a backslash before either."""
    if pattern == "*":
        return True
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    signs = {"%": ".*", "_": "."}
    regular = "".join(signs.get(p) or re.escape(p.removeprefix("\\")) for p in parts)
    return re.fullmatch(regular, database, re.DOTALL) is not None
