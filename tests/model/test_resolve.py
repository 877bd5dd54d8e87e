"""Rules applied to a catalog."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from godwit.errors import DefinitionError
from godwit.model.catalog import Catalog, Column, Key, Table, TableName
from godwit.model.datatypes import DataType, Kind
from godwit.model.definition import Definition, Resolution, parse_definition, resolve
from godwit.model.mapping import TableMapping
from godwit.model.report import Severity

INT = DataType(Kind.INTEGER, bits=32)
TEXT = DataType(Kind.TEXT, length=50)


def table(schema: str, name: str, *more: Column, identity: tuple[str, ...] = ("id",)) -> Table:
    columns = (
        Column("id", INT, "integer", nullable=False),
        Column("name", TEXT, "varchar(50)"),
        *more,
    )
    keys = (Key(f"{name}_pk", identity, primary=True),) if identity else ()
    return Table(TableName(schema, name), columns, keys, identity)


ORDERS = table(
    "shop",
    "orders",
    Column("amount", DataType(Kind.DECIMAL, precision=12, scale=2), "numeric(12,2)"),
    Column("at", DataType(Kind.TIMESTAMP, precision=6), "timestamp"),
    Column("state", DataType(Kind.ENUM, labels=("new", "paid")), "state"),
    Column("total", INT, "integer", generated="amount * 2"),
)
CATALOG = Catalog(
    "x", "1", (ORDERS, table("shop", "items"), table("shop", "order_items"), table("audit", "log"))
)

_ids: Iterator[int] = iter(range(1, 10**6))


def select(
    action: str = "include", schema: str = "shop", name: str = "%", **more: Any
) -> dict[str, Any]:
    locator = {"schema-name": schema, "table-name": name}
    return {
        "rule-type": "selection",
        "rule-id": next(_ids),
        "rule-action": action,
        "object-locator": locator,
        **more,
    }


def change(
    action: str,
    target: str,
    schema: str = "%",
    name: str | None = "%",
    column: str | None = None,
    data_type: str | None = None,
    **more: Any,
) -> dict[str, Any]:
    parts = {
        "schema-name": schema,
        "table-name": name,
        "column-name": column,
        "data-type": data_type,
    }
    locator = {k: v for k, v in parts.items() if v is not None}
    return {
        "rule-type": "transformation",
        "rule-id": next(_ids),
        "rule-action": action,
        "rule-target": target,
        "object-locator": locator,
        **{k.replace("_", "-"): v for k, v in more.items()},
    }


def definition(*rules: dict[str, Any], **more: Any) -> Definition:
    data = {
        "name": "m",
        "migration_type": "full-load-and-cdc",
        "source": {"conn_id": "a"},
        "target": {"conn_id": "b"},
        "table_mappings": {"rules": list(rules)},
        **more,
    }
    return parse_definition({k: v for k, v in data.items() if v is not None}, "m.yaml")


def run(*rules: dict[str, Any], **more: Any) -> Resolution:
    if "tables" not in more and not any(r["rule-type"] == "selection" for r in rules):
        rules = (select(), *rules)
    return resolve(definition(*rules, **more), CATALOG)


def orders(resolution: Resolution) -> TableMapping:
    return next(m for m in resolution.mappings if m.source is ORDERS)


def codes(resolution: Resolution) -> list[str]:
    return [f.code for f in resolution.findings]


def names(resolution: Resolution) -> set[str]:
    return {str(m.source.name) for m in resolution.mappings}


# Selection


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([select()], {"shop.orders", "shop.items", "shop.order_items"}),
        (
            [select("include", "%", "%"), select("exclude", "audit")],
            {"shop.orders", "shop.items", "shop.order_items"},
        ),
        ([select("exclude", name="items"), select()], {"shop.orders", "shop.order_items"}),
        ([select("explicit", name="order_items")], {"shop.order_items"}),
        ([select("explicit", name="order[_]items")], {"shop.order_items"}),
        ([select(name="[io]%s")], {"shop.orders", "shop.items", "shop.order_items"}),
        ([select("include", "SHOP")], set()),
    ],
)
def test_selection(rules: list[dict[str, Any]], expected: set[str]) -> None:
    assert names(run(*rules)) == expected


def test_short_form_with_other_rules() -> None:
    resolution = run(
        change("convert-uppercase", "table"),
        tables={"include": ["shop.*"], "exclude": ["shop.order_*"]},
    )
    assert {str(m.target) for m in resolution.mappings} == {"shop.ORDERS", "shop.ITEMS"}


def test_load_order_highest_first() -> None:
    resolution = run(
        select(),
        select(name="items", **{"load-order": 2}),
        select(name="orders", **{"load-order": "5"}),
    )
    assert [m.source.name.name for m in resolution.mappings] == ["orders", "items", "order_items"]


def test_no_tables_is_an_error_unless_allowed() -> None:
    assert [f.code for f in run(select("include", "none")).errors] == ["no-tables"]
    settings = {"ErrorBehavior": {"FailOnNoTablesCaptured": False}}
    assert run(select("include", "none"), task_settings=settings).errors == ()


def test_rules_without_match_are_found_with_a_hint() -> None:
    resolution = run(
        select(),
        select("exclude", "SHOP", "ORDERS"),
        change("remove-column", "column", column="ghost"),
    )
    found = [f for f in resolution.findings if f.code == "rule-without-match"]
    assert len(found) == 2
    assert found[0].hint == "case matters: the table is called shop.orders"


@pytest.mark.parametrize(
    "more",
    [
        {"tables": {"include": ["shop.*"], "exclude": ["shop.hidden"]}},
        {"table_mappings": {"rules": [select(), select("exclude", name="hidden")]}},
    ],
)
def test_a_table_that_is_excluded_was_found(more: dict[str, Any]) -> None:
    """The catalog is read with the selected tables only."""
    wanted = definition(**more)
    selected = Catalog("x", "1", tuple(t for t in CATALOG if wanted.selects(t.name)))
    assert "rule-without-match" in codes(resolve(wanted, selected))
    known = [TableName("shop", "hidden")]
    assert "rule-without-match" not in codes(resolve(wanted, selected, known))


# Names


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (change("rename", "schema", name=None, value="s2"), "s2.orders"),
        (change("convert-uppercase", "schema", name=None), "SHOP.orders"),
        (change("rename", "table", name="orders", value="o"), "shop.o"),
        (change("add-prefix", "table", value="t_"), "shop.t_orders"),
        (change("add-suffix", "table", value="_t"), "shop.orders_t"),
        (change("remove-prefix", "table", value="or"), "shop.ders"),
        (change("remove-suffix", "table", value="rs"), "shop.orde"),
        (change("replace-prefix", "table", value="X", old_value="ord"), "shop.Xers"),
        (change("replace-suffix", "table", value="X", old_value="ers"), "shop.ordX"),
        (change("replace-prefix", "table", value="X", old_value="zz"), "shop.orders"),
        (
            change(
                "rename",
                "table",
                expression="$AR_M_SOURCE_SCHEMA||'_'||upper($AR_M_SOURCE_TABLE_NAME)",
            ),
            "shop.shop_ORDERS",
        ),
    ],
)
def test_names(rule: dict[str, Any], expected: str) -> None:
    resolution = run(rule)
    assert str(orders(resolution).target) == expected
    assert resolution.errors == ()


def test_lowest_rule_id_wins_whatever_its_place() -> None:
    first, second = (
        change("add-prefix", "table", value="a_"),
        change("rename", "table", "shop", "orders", value="b"),
    )
    resolution = run(second, first)
    assert orders(resolution).target.name == "a_orders"
    assert "rule-overruled" in codes(resolution)


def test_target_schema_yields_to_a_schema_rule() -> None:
    settings = {"TargetMetadata": {"TargetSchema": "t"}}
    assert orders(run(task_settings=settings)).target.schema == "t"
    rule = change("rename", "schema", name=None, value="s2")
    assert orders(run(rule, task_settings=settings)).target.schema == "s2"


def test_two_tables_with_one_name() -> None:
    resolution = run(change("rename", "table", name="%s", value="same"))
    assert {f.code for f in resolution.errors} == {"name-collision"}


def test_wrong_rename_expression() -> None:
    assert [
        f.code for f in run(change("rename", "table", name="orders", expression="$id")).errors
    ] == ["expression"]


# Columns


def test_plain_mapping() -> None:
    mapping = orders(run())
    assert [c.target for c in mapping.columns] == ["id", "name", "amount", "at", "state"]
    assert mapping.plain_load
    assert mapping.plain_changes
    assert mapping.identity == ("id",)
    assert mapping.read_columns == ("id", "name", "amount", "at", "state")


def test_column_rules_together() -> None:
    resolution = run(
        change("convert-uppercase", "column", column="%"),
        {
            **change("change-data-type", "column", column="%", data_type="int4"),
            "data-type": {"type": "int8"},
        },
        change("data-masking-digits-mask", "column", name="orders", column="name", value="#"),
        change("remove-column", "column", name="orders", column="at"),
    )
    columns = {c.target: c for c in orders(resolution).columns}
    assert list(columns) == ["ID", "NAME", "AMOUNT", "STATE"]
    assert columns["ID"].type == DataType(Kind.INTEGER, bits=64)
    assert columns["AMOUNT"].type is None
    assert columns["NAME"].mask == "digits-mask:#"
    assert orders(resolution).identity == ("ID",)
    assert resolution.errors == ()


def test_include_column_drops_the_others() -> None:
    rules = [change("include-column", "column", name="orders", column=c) for c in ("id", "name")]
    mapping = orders(run(*rules))
    assert [c.target for c in mapping.columns] == ["id", "name"]
    assert mapping.plain_load
    assert not mapping.plain_changes


def test_added_column() -> None:
    rule = change("add-column", "column", name="orders", value="label", expression="$name||$state")
    rule["data-type"] = {"type": "string", "length": 100}
    remove = change("remove-column", "column", name="orders", column="state")
    mapping = orders(run(rule, remove))
    added = mapping.columns[-1]
    assert (added.target, added.source, added.type) == (
        "label",
        None,
        DataType(Kind.TEXT, length=100),
    )
    assert "state" in mapping.read_columns


def add(expression: str, value: str = "extra") -> dict[str, Any]:
    rule = change("add-column", "column", name="orders", value=value, expression=expression)
    return {**rule, "data-type": {"type": "string"}}


@pytest.mark.parametrize(
    ("rules", "error"),
    [
        ([add("$ghost")], "expression"),
        ([add("$BI_name")], "expression"),
        ([add("nope(")], "expression"),
        ([add("1", value="name")], "name-collision"),
        ([change("rename", "column", name="orders", column="%", value="x")], "name-collision"),
        ([change("remove-column", "column", name="orders", column="id")], "identity-dropped"),
        ([change("remove-column", "column", name="orders", column="%")], "no-columns"),
        (
            [change("data-masking-digits-randomize", "column", name="orders", column="id")],
            "identity-masked",
        ),
        ([change("data-masking-hash-mask", "column", name="orders", column="amount")], "mask-type"),
        (
            [change("remove-prefix", "column", name="orders", column="name", value="name")],
            "empty-name",
        ),
        (
            [
                {
                    **change("define-primary-key", "table", name="orders"),
                    "primary-key-def": {"columns": ["name"]},
                }
            ],
            "primary-key",
        ),
        (
            [
                {
                    **change("define-primary-key", "table", name="orders"),
                    "primary-key-def": {"columns": ["ghost"]},
                }
            ],
            "unknown-column",
        ),
    ],
)
def test_errors(rules: list[dict[str, Any]], error: str) -> None:
    assert error in [f.code for f in run(*rules).errors]


@pytest.mark.parametrize(
    ("rules", "code"),
    [
        ([add("random()")], "volatile-expression"),
        ([add("operation_indicator('D','U','I')")], "soft-delete"),
        (
            [change("rename", "column", name="orders", column="total", value="x")],
            "generated-column",
        ),
        (
            [
                {
                    **change("change-data-type", "column", name="orders", column="id"),
                    "data-type": {"type": "int2"},
                }
            ],
            "narrower-type",
        ),
        (
            [
                {
                    **change("add-before-image-columns", "column"),
                    "before-image-def": {"column-prefix": "BI_"},
                }
            ],
            "rule-without-effect",
        ),
        ([change("rename", "table-tablespace", value="x")], "rule-without-effect"),
        (
            [
                {
                    **select(),
                    "object-locator": {
                        "schema-name": "shop",
                        "table-name": "v",
                        "table-type": "view",
                    },
                },
                select(),
            ],
            "rule-without-effect",
        ),
        (
            [
                {
                    "rule-type": "validation",
                    "rule-id": 900001,
                    "rule-target": "column",
                    "object-locator": {
                        "schema-name": "shop",
                        "table-name": "orders",
                        "column-name": "name",
                    },
                    "rule-action": "override-validation-function",
                    "source-function": "x",
                }
            ],
            "rule-without-effect",
        ),
        (
            [
                {
                    "rule-type": "table-settings",
                    "rule-id": 900002,
                    "object-locator": {"schema-name": "shop", "table-name": "orders"},
                    "lob-settings": {"mode": "limited", "bulk-max-size": "64"},
                }
            ],
            "rule-without-effect",
        ),
    ],
)
def test_warnings(rules: list[dict[str, Any]], code: str) -> None:
    resolution = run(*rules)
    assert code in codes(resolution)
    assert resolution.errors == ()
    assert all(f.hint for f in resolution.findings if f.severity is Severity.WARNING)


def test_hash_mask_makes_room_for_its_digits() -> None:
    mapping = orders(run(change("data-masking-hash-mask", "column", name="orders", column="name")))
    column = next(c for c in mapping.columns if c.source == "name")
    assert (column.mask, column.type) == ("hash-mask", DataType(Kind.TEXT, length=64))


def test_ranges() -> None:
    rule = {
        "rule-type": "table-settings",
        "rule-id": 900003,
        "object-locator": {"schema-name": "shop", "table-name": "orders"},
        "parallel-load": {"type": "ranges", "columns": ["id"], "boundaries": [["10"], [20]]},
    }
    assert orders(run(rule)).boundaries == (("id",), (("10",), ("20",)))
    rule["parallel-load"] = {"type": "ranges", "columns": ["amount"], "boundaries": [["10"]]}
    assert orders(run(rule)).boundaries is None
    assert "boundary-column" in codes(run(rule))
    assert orders(run(rule, migration_type="full-load")).boundaries == (("amount",), (("10",),))
    rule["parallel-load"] = {"type": "ranges", "columns": ["ghost"], "boundaries": [["10"]]}
    assert [f.code for f in run(rule).errors] == ["unknown-column"]


# Filters


def filters(column: str, operator: str, **values: Any) -> list[dict[str, Any]]:
    condition = {"filter-operator": operator, **{k.replace("_", "-"): v for k, v in values.items()}}
    return [{"filter-type": "source", "column-name": column, "filter-conditions": [condition]}]


@pytest.mark.parametrize(
    ("column", "operator", "values"),
    [
        ("id", "eq", {"value": 5}),
        ("id", "between", {"start_value": "1", "end_value": "9"}),
        ("amount", "gt", {"value": "10.50"}),
        ("at", "gte", {"value": "2024-01-01"}),
        ("at", "lt", {"value": "2024-01-01 10:00:00.5"}),
        ("name", "ste", {"value": "m"}),
        ("state", "noteq", {"value": "new"}),
        ("name", "null", {}),
        ("name", "notnull", {}),
    ],
)
def test_filters(column: str, operator: str, values: dict[str, Any]) -> None:
    resolution = run(select(name="orders", filters=filters(column, operator, **values)))
    assert resolution.errors == ()
    row_filter = orders(resolution).row_filter
    assert row_filter is not None
    assert row_filter.groups[0][0].operator == operator
    assert not orders(resolution).plain_changes


@pytest.mark.parametrize(
    ("column", "operator", "values", "code"),
    [
        ("ghost", "eq", {"value": "1"}, "filter-column"),
        ("total", "eq", {"value": "1"}, "filter-column"),
        ("id", "eq", {"value": "1.5"}, "filter-value"),
        ("at", "eq", {"value": "yesterday"}, "filter-value"),
        ("state", "eq", {"value": "lost"}, "filter-value"),
        ("id", "eq", {"value": "2147483648"}, "filter-value"),
        ("amount", "gte", {"value": "1.005"}, "filter-value"),
        ("amount", "gte", {"value": "12345678901"}, "filter-value"),
        ("name", "eq", {"value": "x" * 51}, "filter-value"),
    ],
)
def test_wrong_filters(column: str, operator: str, values: dict[str, Any], code: str) -> None:
    resolution = run(select(name="orders", filters=filters(column, operator, **values)))
    assert [f.code for f in resolution.errors] == [code]


# What a file may not say


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (select("exclude", filters=filters("id", "null")), "cannot filter rows"),
        (select("explicit"), "explicit names one table"),
        (select(filters=filters("id", "eq")), "eq needs a value"),
        (select(filters=filters("id", "between", value="1")), "between needs two values"),
        (select(filters=filters("id", "like", value="1")), "unknown filter-operator 'like'"),
        (change("rename", "table"), "rename needs a value"),
        (change("replace-prefix", "table", value="x"), "needs the text to replace"),
        (change("renam", "table", value="x"), "did you mean 'rename'?"),
        (change("add-column", "column", value="x"), "needs expression and data-type"),
        (change("change-data-type", "column", column="x"), "needs the new type"),
        (change("remove-column", "column"), "needs a column"),
        (change("remove-column", "table", column="x"), "is for columns"),
        (change("data-masking-digits-mask", "column", column="x", value="##"), "one printable"),
        (
            {**change("change-data-type", "column", column="x"), "data-type": {"type": "map"}},
            "no target has",
        ),
        (
            {**change("change-data-type", "column", column="x"), "data-type": {"type": "int3"}},
            "did you mean",
        ),
        ({"rule-type": "object-mapping", "rule-id": 1}, "streaming targets"),
        (
            {
                "rule-type": "table-settings",
                "rule-id": 1,
                "object-locator": {"schema-name": "a", "table-name": "b"},
                "parallel-load": {"type": "ranges", "columns": ["a"], "boundaries": [["1", "2"]]},
            },
            "one value for each",
        ),
    ],
)
def test_refused(rule: dict[str, Any], message: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        definition(select(), rule)
    assert message in str(caught.value)


def test_ids_are_unique() -> None:
    rule = select()
    with pytest.raises(DefinitionError, match="is also that of"):
        definition(rule, rule)


# Windows


def test_load_window_needs_its_column_everywhere() -> None:
    more = {"migration_type": "full-load", "schedule": "@daily", "load_window": {"column": "at"}}
    assert [f.code for f in run(select(name="orders"), **more).errors] == []
    assert [f.subject for f in run(**more).errors] == ["shop.items", "shop.order_items"]
