"""The cutover of a definition: its gates and limits, and the hooks that switch applications."""

from __future__ import annotations

import json
import urllib.request
from base64 import b64encode
from typing import TYPE_CHECKING

from godwit.errors import ConversionError, CutoverError
from godwit.steps import schema
from godwit.steps.cutover import Cutover, Switch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from godwit.migrator.migration import Migrator
    from godwit.model.definition import Hook
    from godwit.model.endpoint import Connection
    from godwit.model.parts import ConnectionHook, SqlHook, WebhookHook


def cutover_of(migrator: Migrator, *, back: bool = False) -> Cutover:
    """Everything the cutover of a migration works with; `back`: to undo it."""
    spec, checks = migrator.definition.cutover, migrator.definition.validation
    return Cutover(
        migration=migrator.name,
        source=migrator.source,
        target=migrator.target,
        control=migrator.control,
        mappings=migrator.mappings,
        report=migrator.reporter,
        drain=lambda position: migrator.session(until=position),
        late=lambda: _late(migrator),
        switches=tuple(_switches(migrator, back=back)),
        capturing=migrator.captures,
        fence=spec.fence,
        terminate=spec.terminate_sessions,
        max_lag=spec.max_lag_seconds,
        drain_timeout=float(spec.drain_timeout_seconds),
        final_validation=spec.final_validation,
        validation={
            "rows_per_range": checks.rows_per_range,
            "failure_limit": checks.failure_limit,
            "table_failure_limit": checks.table_failure_limit,
        },
        stop=migrator.asked_to_stop,
    )


def _late(migrator: Migrator) -> list[str]:
    report = schema.late(
        migrator.target,
        migrator.schema_plan(),
        migrator.reporter,
        streams=migrator.definition.streams,
    )
    broken = [o for o in report.objects if o.state in schema.BROKEN]
    if broken:
        raise ConversionError(
            f"{len(broken)} objects could not be made at the cutover",
            where=", ".join(f"{o.kind} {o.name}" for o in broken[:5]),
            why=broken[0].detail,
            hint="put right what the target says, then cut over again",
        )
    return [f"{o.kind} {o.name}" for o in report.objects]


def _switches(migrator: Migrator, *, back: bool) -> Iterator[Switch]:
    for hook in migrator.definition.cutover.hooks:
        yield _switch(migrator, hook, back=back)


def _switch(migrator: Migrator, hook: Hook, *, back: bool) -> Switch:
    if hook.sql is not None:
        return _sql(migrator, hook.label, hook.sql)
    if hook.webhook is not None:
        web = hook.webhook
        return Switch(hook.label, lambda: _call(migrator, web))
    if hook.airflow_connection is None:
        raise AssertionError("a hook does exactly one thing")
    if back and migrator.switch_connection is None:
        # The source must be given back whoever asks; the connection is then pointed back by hand.
        return Switch(hook.label, lambda: None)
    return _connection(migrator, hook.label, hook.airflow_connection)


def _sql(migrator: Migrator, name: str, hook: SqlHook) -> Switch:
    def do() -> None:
        migrator.endpoints.executing(hook.endpoint).execute(hook.statements)

    def undo() -> None:
        migrator.endpoints.executing(hook.endpoint).execute(hook.undo)

    return Switch(name, do, undo if hook.undo else None)


def _connection(migrator: Migrator, name: str, hook: ConnectionHook) -> Switch:
    switch = migrator.switch_connection
    if switch is None:
        raise CutoverError(
            "a hook points an Airflow connection at the target, and this isn't Airflow",
            where=f"{migrator.name}, hook {name}",
            why="connections of the environment cannot be changed for other processes",
            hint="cut over in the migration's DAG, or use a sql or webhook hook",
        )
    point = switch

    def do() -> None:
        point(hook.conn_id, migrator.endpoints.connection(hook.copy_from))

    def undo() -> None:
        other = "source" if hook.copy_from == "target" else "target"
        point(hook.conn_id, migrator.endpoints.connection(other))

    return Switch(name, do, undo)


def _call(migrator: Migrator, hook: WebhookHook) -> None:
    """Send the request; anything but success is an error.

    Raises:
        CutoverError: it cannot be reached, or says no.
    """
    url, headers = hook.url or "", dict(hook.headers)
    if hook.conn_id is not None:
        url, more = _address(migrator.endpoints.connections(hook.conn_id), hook.path)
        headers |= more
    data = None
    if hook.body is not None:
        data = json.dumps(hook.body).encode()
        headers.setdefault("Content-Type", "application/json")
    # Only http and https: the definition and `_address` see to that.
    request = urllib.request.Request(url, data=data, headers=headers, method=hook.method)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=hook.timeout_seconds):  # noqa: S310
            return
    except OSError as error:
        status = getattr(error, "code", None)
        raise CutoverError(
            "a switch hook failed",
            where=f"webhook of {migrator.name}, {hook.conn_id or 'url'}",
            why=f"HTTP {status}" if status else type(error).__name__,
            hint="put the receiver right, then cut over again",
        ) from None


def _address(connection: Connection, path: str) -> tuple[str, dict[str, str]]:
    scheme = connection.database if connection.database in {"http", "https"} else "https"
    if connection.conn_type in {"http", "https"} and connection.database == "":
        scheme = connection.conn_type
    host = connection.host
    address = host if "://" in host else f"{scheme}://{host}"
    if connection.port:
        address = f"{address}:{connection.port}"
    headers = {str(k): str(v) for k, v in connection.extra.items() if isinstance(v, str)}
    if connection.login:
        pair = f"{connection.login}:{connection.password}".encode()
        headers["Authorization"] = f"Basic {b64encode(pair).decode()}"
    return f"{address}/{path.lstrip('/')}", headers
