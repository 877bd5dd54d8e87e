"""Loads airflow_settings.yaml into Airflow's metadata database, as the Astro CLI does at its start.

    python scripts/airflow_settings.py [FILE]

The rules are the Astro CLI's: a connection that is there already is replaced; `conn_uri` counts
only when no other `conn_…` key is filled but the id; `conn_extra` is a map or a string; a pool
without slots and a variable without a value are left out.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
FIELDS = {
    "conn_type": "conn_type",
    "conn_host": "host",
    "conn_schema": "schema",
    "conn_login": "login",
    "conn_password": "password",
    "conn_port": "port",
    "conn_extra": "extra",
}
KEYS = {
    "connections": {"conn_id", "conn_uri", *FIELDS},
    "pools": {"pool_name", "pool_slot", "pool_description"},
    "variables": {"variable_name", "variable_value"},
}


class SettingsError(Exception):
    """The file says something that cannot be loaded; the text says where and why."""


@dataclass(frozen=True)
class Settings:
    """What the file asks for, ready for Airflow."""

    connections: dict[str, dict[str, Any]]
    """By id: the keyword arguments of Airflow's Connection."""
    pools: dict[str, tuple[int, str]]
    """By name: slots and description."""
    variables: dict[str, str]


def read(text: str) -> Settings:
    """Understand the file's text. Raises SettingsError, which never repeats a value."""
    document = yaml.safe_load(text)
    document = {} if document is None else document
    airflow = (document.get("airflow") or {}) if isinstance(document, dict) else None
    if not isinstance(airflow, dict):
        raise SettingsError("the file must have one key, `airflow`, with lists below it")
    if unknown := set(airflow) - set(KEYS):
        raise SettingsError(f"airflow: unknown key {', '.join(sorted(unknown))}")
    return Settings(
        connections=dict(
            _connection(*entry) for entry in _entries(airflow, "connections", "conn_id")
        ),
        pools={
            entry["pool_name"]: (int(entry["pool_slot"]), entry.get("pool_description") or "")
            for _, entry in _entries(airflow, "pools", "pool_name")
            if entry.get("pool_slot")
        },
        variables={
            entry["variable_name"]: str(entry["variable_value"])
            for _, entry in _entries(airflow, "variables", "variable_name")
            if entry.get("variable_value") not in (None, "")
        },
    )


def _entries(airflow: dict[str, Any], kind: str, name: str) -> list[tuple[str, dict[str, Any]]]:
    """The entries of one list that have a name (the Astro CLI's own empty ones have none)."""
    entries = []
    for number, entry in enumerate(airflow.get(kind) or [], start=1):
        where = f"airflow.{kind}, entry {number}"
        if not isinstance(entry, dict):
            raise SettingsError(f"{where}: must be a map")
        if unknown := set(entry) - KEYS[kind]:
            raise SettingsError(f"{where}: unknown key {', '.join(sorted(map(str, unknown)))}")
        if entry.get(name):
            entries.append((where, entry))
    return entries


def _connection(where: str, entry: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    fields = {own: entry[key] for key, own in FIELDS.items() if entry.get(key)}
    if isinstance(fields.get("extra"), dict):
        fields["extra"] = json.dumps(fields["extra"])
    if not fields:
        if not entry.get("conn_uri"):
            raise SettingsError(f"{where}: needs conn_type or conn_uri")
        return entry["conn_id"], {"uri": entry["conn_uri"]}
    if "conn_type" not in fields:
        raise SettingsError(f"{where}: needs conn_type")
    return entry["conn_id"], fields


def store(settings: Settings) -> None:
    """Write them into the metadata database of the Airflow that the environment names."""
    # Airflow takes seconds to import; reading alone does not need it.
    from airflow.models import Connection, Pool, Variable
    from airflow.utils.session import create_session
    from sqlalchemy import delete

    with create_session() as session:
        for name, fields in settings.connections.items():
            session.execute(delete(Connection).where(Connection.conn_id == name))
            session.add(Connection(conn_id=name, **fields))
        for name, (slots, description) in settings.pools.items():
            Pool.create_or_update_pool(
                name, slots, description, include_deferred=False, session=session
            )
        for name, value in settings.variables.items():
            Variable.set(name, value, session=session)


def main(arguments: list[str]) -> int:
    """Load the file; exit code 2 when it is not there or not right."""
    path = Path(arguments[0]) if arguments else ROOT / "airflow_settings.yaml"
    try:
        settings = read(path.read_text(encoding="utf-8"))
    except (OSError, SettingsError, yaml.YAMLError) as reason:
        print(f"{path}: {reason}", file=sys.stderr)
        return 2
    store(settings)
    for kind in KEYS:
        print(f"{kind}: {', '.join(getattr(settings, kind)) or 'none'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
