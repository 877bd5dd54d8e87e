"""The tasks of a migration and their order, for a DAG or a task group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import TriggerRule

from godwit.airflow.assets import migration_alias, table_asset
from godwit.airflow.cdc import CdcPollOperator
from godwit.airflow.operators import (
    CatchUpOperator,
    ConfigureEndpointsOperator,
    ConvertSchemaOperator,
    CutoverOperator,
    DecommissionOperator,
    FinishSchemaOperator,
    FullLoadOperator,
    LoadWindowOperator,
    PlanChunksOperator,
    ProvisionInstanceOperator,
    ValidateOperator,
)
from godwit.airflow.pools import pool_name
from godwit.airflow.rest import api_conn_id
from godwit.model.catalog import TableName

if TYPE_CHECKING:
    from godwit.model.definition import Definition

#: What is running and shows nothing yet: the label is there from the start.
MAP_LABEL = "{{ task.bundle['label'] }}"


def add_tasks(definition: Definition, origin: str) -> None:
    """Add the migration's tasks to the DAG and group of the surrounding ``with``."""
    _Tasks(definition, origin).add()


class _Tasks:
    """Builds the tasks of one migration."""

    def __init__(self, definition: Definition, origin: str) -> None:
        self._definition = definition
        self._common: dict[str, Any] = {"definition": definition.to_dict(), "origin": origin}
        self._cutover = definition.cutover.mode
        self._captures = definition.migration_type.captures
        self._pool = pool_name(definition.instance_name) if self._may_make_pool() else None

    def add(self) -> None:
        """Add them all."""
        configure = ConfigureEndpointsOperator(task_id="configure_endpoints", **self._common)
        provision = ProvisionInstanceOperator(
            task_id="provision_instance", pool_to_make=self._pool, **self._common
        )
        convert = ConvertSchemaOperator(
            task_id="convert_schema", **self._one_at_a_time(), **self._common
        )
        configure >> provision >> convert
        if self._definition.load_window is not None:
            convert >> self._load_window() >> self._finish()
        elif self._captures:
            self._with_changes(self._load(convert))
        else:
            self._without_changes(self._load(convert))

    def _load(self, convert: Any) -> Any:
        """Chunks of all tables in one flat list: Airflow cannot nest mapped tasks."""
        if not self._definition.migration_type.loads:
            return convert
        plan = PlanChunksOperator(task_id="plan_chunks", **self._common)
        streams = self._definition.streams
        room = {"pool": self._pool} if self._pool else {"max_active_tis_per_dag": streams}
        load = FullLoadOperator.partial(
            task_id="full_load",
            map_index_template=MAP_LABEL,
            max_active_tis_per_dagrun=streams,
            **room,
            **self._common,
        ).expand(bundle=plan.output)
        convert >> plan
        return load

    def _one_at_a_time(self) -> dict[str, Any]:
        """A backfill has several runs at once: they may load together, but not change tables."""
        return {"max_active_tis_per_dag": 1} if self._definition.load_window is not None else {}

    def _finish(self, **more: Any) -> FinishSchemaOperator:
        return FinishSchemaOperator(
            task_id="finish_schema", **self._one_at_a_time(), **more, **self._common
        )

    def _load_window(self) -> LoadWindowOperator:
        return LoadWindowOperator(task_id="full_load", outlets=self._outlets(), **self._common)

    def _without_changes(self, load: Any) -> None:
        finish = self._finish(trigger_rule=TriggerRule.NONE_FAILED)
        # The next run loads anew: its ledger must not say that everything is done.
        decommission = self._decommission(control_tables=True)
        load >> finish >> self._validate() >> decommission

    def _with_changes(self, load: Any) -> None:
        # Without a single table nothing is mapped, and full_load counts as skipped.
        catch_up = CatchUpOperator(
            task_id="catch_up", trigger_rule=TriggerRule.NONE_FAILED, **self._common
        )
        instance = self._definition.replication_instance
        poll = CdcPollOperator(task_id="cdc_poll", trigger_queue=instance.queue, **self._common)
        finish = self._finish()
        validate = self._validate()
        load >> catch_up >> [poll, finish]
        finish >> validate
        if self._cutover == "never":
            return
        cutover = CutoverOperator(
            task_id="cutover", retries=0, outlets=self._outlets(), **self._common
        )
        if self._cutover == "approval":
            validate >> self._approval(validate, cutover) >> cutover
        else:
            validate >> cutover
        keep = self._definition.cutover.keep_control_tables
        [poll, cutover] >> self._decommission(control_tables=not keep)

    def _approval(self, validate: ValidateOperator, cutover: CutoverOperator) -> Any:
        from godwit.airflow.approval import ApproveCutoverOperator, approval_form

        approve = ApproveCutoverOperator(
            task_id="approve_cutover",
            validate_task_id=validate.task_id,
            params=approval_form(),
            **self._common,
        )
        cutover.approval_task_id = approve.task_id
        return approve

    def _validate(self) -> ValidateOperator:
        return ValidateOperator(task_id="validate", outlets=self._outlets(), **self._common)

    def _decommission(self, *, control_tables: bool) -> DecommissionOperator:
        return DecommissionOperator(
            task_id="decommission",
            capture=self._captures and self._definition.cutover.drop_source_capture,
            control_tables=control_tables,
            # An instance with a name of its own may serve other migrations too.
            pool_to_remove=None if self._definition.replication_instance.name else self._pool,
            **self._common,
        )

    def _may_make_pool(self) -> bool:
        loads = self._definition.migration_type.loads and self._definition.load_window is None
        return loads and bool(api_conn_id())

    def _outlets(self) -> list[Any]:
        """Assets that are known by name now, and the alias for those known at run time only."""
        definition = self._definition
        outlets: list[Any] = [migration_alias(definition.name)]
        if definition.tables is None or definition.table_mappings.transformations:
            return outlets
        for pattern in definition.tables.include:
            schema, _, name = pattern.partition(".")
            if name and not set("*%?[]") & set(pattern):
                outlets.append(table_asset(definition.target.conn_id, TableName(schema, name)))
        return outlets
