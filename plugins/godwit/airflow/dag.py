"""From a definition to tasks: one DAG for every file, or a task group in a DAG of yours.

    from godwit.airflow.dag import migration_dags
    globals().update(migration_dags(Path(__file__).parent.parent / "include" / "migrations"))

Parsing is cheap on purpose: neither an engine nor a driver is imported here.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, CronDataIntervalTimetable, TaskGroup, get_parsing_context

from godwit.airflow.operators import BrokenDefinitionOperator
from godwit.airflow.parameters import run_parameters
from godwit.airflow.tasks import add_tasks
from godwit.errors import DefinitionError
from godwit.model.definition import (
    Definition,
    definition_name,
    load_definition,
    parse_definition,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: A schedule without a first day begins with its latest interval.
EARLIEST = datetime(2020, 1, 1, tzinfo=UTC)
#: Airflow waits longer before each retry, at most so long.
RETRIES: dict[str, Any] = {
    "retries": 3,
    "retry_delay": timedelta(seconds=10),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=5),
}


def migration_dags(
    folder: str | Path, *, default_args: Mapping[str, Any] | None = None
) -> dict[str, DAG]:
    """One DAG for every ``*.yaml`` and ``*.yml`` file of the folder, by DAG id.

    A file that cannot be used becomes a DAG of that name whose only task fails with the reason; the
    others live. In a task's process only the DAG it belongs to is built.

    Args:
        folder: where the files are.
        default_args: for every task, over Godwit's own (retries with back-off).
    """
    wanted = get_parsing_context().dag_id
    dags: dict[str, DAG] = {}
    for path in _files(Path(folder), wanted):
        dag = _dag_of_file(path, dags, default_args or {})
        dags[dag.dag_id] = dag
        if wanted is not None and dag.dag_id == wanted:
            return {wanted: dag}
    return dags


def migration_dag(
    definition: Definition, *, origin: str = "", default_args: Mapping[str, Any] | None = None
) -> DAG:
    """The DAG of one definition; its id is the migration's name."""
    with DAG(
        dag_id=definition.name,
        description=definition.description or _summary(definition),
        doc_md=_documentation(definition, origin),
        schedule=_schedule(definition),
        start_date=definition.start_date or (EARLIEST if definition.schedule else None),
        catchup=definition.catchup,
        # Two runs of one migration would take turns in fencing each other.
        max_active_runs=1,
        default_args={**RETRIES, **(default_args or {})},
        params=run_parameters(cutover=definition.cutover.mode != "never"),
        tags=["migration", str(definition.migration_type), *definition.tags],
    ) as dag:
        add_tasks(definition, origin)
    return dag


class MigrationTaskGroup(TaskGroup):
    """A migration inside a DAG of yours, beside other tasks.

    Args:
        definition: a definition, its plain data, or the path of its file.
        group_id: name of the group; the migration's name when not given.

    Raises:
        DefinitionError: the definition cannot be used.
    """

    def __init__(
        self,
        definition: Definition | Mapping[str, Any] | str | Path,
        *,
        group_id: str | None = None,
        default_args: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        found, origin = _definition(definition)
        super().__init__(
            group_id=group_id or found.name,
            tooltip=found.description or _summary(found),
            # Its annotation is a type variable of the attrs library that fits nothing.
            **{"default_args": {**RETRIES, **(default_args or {})}, **kwargs},
        )
        self.definition = found
        with self:
            add_tasks(found, origin)


def _definition(given: Definition | Mapping[str, Any] | str | Path) -> tuple[Definition, str]:
    if isinstance(given, Definition):
        return given, ""
    if isinstance(given, (str, Path)):
        return load_definition(given), str(given)
    return parse_definition(dict(given), "definition"), ""


def _files(folder: Path, wanted: str | None) -> Iterator[Path]:
    """The folder's files; first the one that most likely holds the DAG that is wanted."""
    files = [*folder.glob("*.yaml"), *folder.glob("*.yml")]
    # A file called as its migration comes before one that only claims the name.
    return iter(sorted(files, key=lambda path: (path.stem != wanted, path.name)))


def _dag_of_file(path: Path, known: Mapping[str, DAG], default_args: Mapping[str, Any]) -> DAG:
    try:
        definition = load_definition(path)
        _refuse_namesake(definition.name, path, known)
        return migration_dag(definition, origin=str(path), default_args=default_args)
    except DefinitionError as error:
        return _broken_dag(_free_id(path, known), str(error), path)
    except Exception as error:  # noqa: BLE001 - one bad file must not take the others down
        return _broken_dag(_free_id(path, known), f"{path}: {type(error).__name__}: {error}", path)


def _refuse_namesake(name: str, path: Path, known: Mapping[str, DAG]) -> None:
    """A file called as its migration keeps the name; of others the first one does."""
    if name in known or _belongs_to_another(name, path):
        raise DefinitionError(
            f"another file has a migration {name!r} already",
            where=f"{path}: name",
            hint="give each migration a name of its own, best the file's",
        )


def _belongs_to_another(name: str, path: Path) -> bool:
    """A file that is called so has that name too."""
    namesakes = (path.with_name(f"{name}{suffix}") for suffix in (".yaml", ".yml"))
    return path.stem != name and any(
        other.exists() and definition_name(other) == name for other in namesakes
    )


def _free_id(path: Path, known: Mapping[str, DAG]) -> str:
    """The migration's name as a DAG id, else the file's; numbered when somebody has it."""
    wanted = definition_name(path)
    if wanted in known or _belongs_to_another(wanted, path):
        wanted = path.stem
    wanted = "".join(c if c.isalnum() or c in "-_." else "_" for c in wanted) or "migration"
    number, free = 2, wanted
    while free in known:
        free, number = f"{wanted}_{number}", number + 1
    return free


def _broken_dag(dag_id: str, problem: str, path: Path) -> DAG:
    with DAG(
        dag_id=dag_id,
        description=f"Broken: {path.name} cannot be used",
        doc_md=f"### `{path.name}` cannot be used\n\n```\n{problem}\n```\n",
        schedule=None,
        tags=["migration", "broken"],
    ) as dag:
        BrokenDefinitionOperator(task_id="read_definition", problem=problem, retries=0)
    return dag


def _schedule(definition: Definition) -> Any:
    if definition.load_window is not None:
        # Airflow's plain cron schedules have empty data intervals; a window needs real ones.
        return CronDataIntervalTimetable(str(definition.schedule), timezone="UTC")
    return definition.schedule


def _summary(definition: Definition) -> str:
    sides = f"{definition.source.conn_id} → {definition.target.conn_id}"
    return f"{definition.migration_type}: {sides}"


def _documentation(definition: Definition, origin: str) -> str:
    lines = [f"### Migration `{definition.name}`", ""]
    lines.append(definition.description or _summary(definition))
    lines += ["", "| | |", "|---|---|"]
    facts = {
        "type": definition.migration_type,
        "source": definition.source.conn_id,
        "target": definition.target.conn_id,
        "streams": definition.streams,
        "cutover": definition.cutover.mode,
        "file": Path(origin).name,
    }
    lines += [f"| {name} | `{value}` |" for name, value in facts.items() if value]
    if definition.findings:
        lines += ["", "**Without effect here:**", ""]
        lines += [f"- `{f.subject}`: {f.reason}" for f in definition.findings]
    return "\n".join(lines)
