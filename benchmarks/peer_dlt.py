"""dlt's ConnectorX backend, as its documentation says; runs in a scratch environment of its own."""

from __future__ import annotations

import sys

import dlt
from dlt.sources.sql_database import sql_database


def main() -> None:
    reflected, read, target, dataset, table = sys.argv[1:]
    source = sql_database(
        reflected,
        table_names=[table],
        backend="connectorx",
        backend_kwargs={"conn": read, "protocol": "binary"},
        reflection_level="full_with_precision",
    )
    pipeline = dlt.pipeline(
        "bench",
        pipelines_dir="pipelines",
        destination=dlt.destinations.postgres(target),
        dataset_name=dataset,
    )
    print(pipeline.run(source))


if __name__ == "__main__":
    main()
