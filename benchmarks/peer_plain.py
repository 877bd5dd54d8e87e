"""What one writes with python-mysql-replication: every row decoded, and put by one statement.

Runs in a scratch environment of its own. Without a target it only decodes.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from pymysqlreplication import BinLogStreamReader
from pymysqlreplication.event import XidEvent
from pymysqlreplication.row_event import DeleteRowsEvent, UpdateRowsEvent, WriteRowsEvent


def main() -> None:
    """Follow the log until the marker."""
    task = json.loads(sys.argv[1])
    stream = BinLogStreamReader(
        connection_settings={"host": "127.0.0.1", "port": task["port"], "user": "root"},
        server_id=778,
        only_schemas=[task["schema"]],
        only_events=[WriteRowsEvent, UpdateRowsEvent, DeleteRowsEvent, XidEvent],
        log_file=task["place"][0],
        log_pos=task["place"][1],
        resume_stream=True,
    )
    target = Target(task["target"], task["schema"]) if task.get("target") else None
    began, cpu, changes = time.perf_counter(), time.process_time(), 0
    marked = False
    for event in stream:
        if isinstance(event, XidEvent):
            if target:
                target.session.commit()
            if marked:
                break
            continue
        changes += len(event.rows)
        if target:
            for row in event.rows:
                target.put(event, row)
        marked = marked or event.table == "marker"
    stream.close()
    seconds, client = time.perf_counter() - began, time.process_time() - cpu
    print(json.dumps({"changes": changes, "seconds": seconds, "client": client}))
    if target:
        time.sleep(60)


class Target:
    """One statement a row."""

    def __init__(self, url: str, schema: str) -> None:
        import psycopg

        self.session = psycopg.connect(url)
        self._cursor = self.session.cursor()
        self._schema = schema

    def put(self, event: Any, row: dict[str, Any]) -> None:
        """Insert or update by the key `id`, or delete."""
        table = f"{self._schema}.{event.table}"
        if isinstance(event, DeleteRowsEvent):
            self._cursor.execute(f"DELETE FROM {table} WHERE id = %s", [row["values"]["id"]])
            return
        values = row.get("after_values") or row["values"]
        before = row.get("before_values")
        if before and before["id"] != values["id"]:
            self._cursor.execute(f"DELETE FROM {table} WHERE id = %s", [before["id"]])
        sets = ", ".join(f"{c} = excluded.{c}" for c in values)
        self._cursor.execute(
            f"INSERT INTO {table} ({', '.join(values)}) VALUES ({', '.join(['%s'] * len(values))})"
            f" ON CONFLICT (id) DO UPDATE SET {sets}",
            list(values.values()),
        )


if __name__ == "__main__":
    main()
