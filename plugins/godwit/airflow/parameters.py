"""What may be chosen when a run is triggered, and how it changes the definition of that run."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk import Param

PREP_MODES = ("DO_NOTHING", "TRUNCATE_BEFORE_LOAD", "DROP_AND_CREATE")


def run_parameters(*, cutover: bool) -> dict[str, Param]:
    """The parameters of a migration's DAG, with the form's texts."""
    from airflow.sdk import Param

    parameters = {
        "repair": Param(
            default=False,
            type="boolean",
            title="Repair",
            description="validate makes rows that differ as the source has them",
        ),
        "target_table_prep_mode": Param(
            default=None,
            type=["null", "string"],
            enum=[None, *PREP_MODES],
            title="Target table preparation",
            description="overrules TargetTablePrepMode of the definition for this run",
        ),
    }
    if cutover:
        parameters["dry_run"] = Param(
            default=False,
            type="boolean",
            title="Dry run",
            description="cutover only looks whether its gates are open",
        )
    return parameters


def apply_parameters(definition: dict[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The definition of this run; the one given is left as it is."""
    mode = chosen.get("target_table_prep_mode")
    if not mode:
        return definition
    changed = copy.deepcopy(definition)
    settings = changed.get("task_settings") or {}
    load = settings.get("FullLoadSettings") or {}
    changed["task_settings"] = {
        **settings,
        "FullLoadSettings": {**load, "TargetTablePrepMode": mode},
    }
    return changed
