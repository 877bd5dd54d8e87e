"""Privileges to write, table by table: what accounts hold, taking it, giving it back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from godwit.engines.mysql.connection import Session
from godwit.engines.mysql.names import quoted

#: What changes rows; the others of a table stay.
_PRIVILEGES = ("INSERT", "UPDATE", "DELETE", "DROP", "ALTER", "CREATE", "TRIGGER")


def table_grants(session: Session, tables: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    """Privileges on the tables and on their columns that allow writing, as plain JSON."""
    found: list[dict[str, Any]] = []
    for schema, name in tables:
        for column, view in ((None, "TABLE_PRIVILEGES"), ("COLUMN_NAME", "COLUMN_PRIVILEGES")):
            rows = session.rows(
                f"SELECT GRANTEE, PRIVILEGE_TYPE, IS_GRANTABLE, {column or 'NULL'}"
                f" FROM information_schema.{view} WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s"
                " AND PRIVILEGE_TYPE IN %s ORDER BY 1, 2, 4",
                (schema, name, _PRIVILEGES),
            )
            found += [
                {
                    "schema": schema,
                    "table": name,
                    "column": of,
                    "grantee": grantee,
                    "privilege": privilege,
                    "option": option == "YES",
                }
                for grantee, privilege, option, of in rows
            ]
    return found


def other_writers(session: Session, tables: Sequence[Sequence[str]]) -> list[str]:
    """Accounts whose privileges are those of a database or of the whole server."""
    wanted = ("INSERT", "UPDATE", "DELETE")
    schemas = tuple({schema for schema, _ in tables}) or ("",)
    everywhere = session.rows(
        "SELECT DISTINCT GRANTEE FROM information_schema.USER_PRIVILEGES"
        " WHERE PRIVILEGE_TYPE IN %s ORDER BY 1",
        (wanted,),
    )
    there = session.rows(
        "SELECT DISTINCT GRANTEE, TABLE_SCHEMA FROM information_schema.SCHEMA_PRIVILEGES"
        " WHERE PRIVILEGE_TYPE IN %s AND EXISTS (SELECT 1 FROM information_schema.SCHEMATA s"
        " WHERE s.SCHEMA_NAME IN %s AND s.SCHEMA_NAME LIKE TABLE_SCHEMA) ORDER BY 1, 2",
        (wanted, schemas),
    )
    lines = [
        f"{grantee} may write on the whole server and can still write" for (grantee,) in everywhere
    ]
    return lines + [
        f"{grantee} may write in the whole database {schema} and can still write"
        for grantee, schema in there
    ]


def revoke(session: Session, grants: Sequence[Mapping[str, Any]]) -> None:
    """Take them; those that are gone already are left out."""
    present = table_grants(session, sorted({(g["schema"], g["table"]) for g in grants}))
    wanted = [grant for grant in grants if grant in present]
    # Those of columns first: with a table's privilege its columns' goes as well.
    for grant in sorted(wanted, key=lambda g: g["column"] is None):
        session.run(_statement("REVOKE {} ON {} FROM {}", grant))


def grant_back(session: Session, grants: Sequence[Mapping[str, Any]]) -> None:
    """Give them back, with their grant option; those that are there already are left out."""
    present = table_grants(session, sorted({(g["schema"], g["table"]) for g in grants}))
    for grant in grants:
        if grant in present:
            continue
        option = " WITH GRANT OPTION" if grant["option"] else ""
        session.run(_statement("GRANT {} ON {} TO {}" + option, grant))


def _statement(template: str, grant: Mapping[str, Any]) -> str:
    column = f" ({quoted(grant['column'])})" if grant["column"] else ""
    return template.format(
        grant["privilege"] + column,
        quoted(grant["schema"], grant["table"]),
        _account(grant["grantee"]),
    )


def _account(grantee: str) -> str:
    """As information_schema shows it, quoted already: MariaDB's roles are accounts of no host."""
    return grantee.removesuffix("@''")
