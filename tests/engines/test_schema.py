"""Native objects from one real server to another: order, parity, renames, repetition, failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest

from godwit.engines.postgres.catalog import read_catalog
from godwit.engines.postgres.checks import check_source, check_target
from godwit.engines.postgres.connection import Connector
from godwit.engines.postgres.ddl import drop_tables, parity, plan_schema, run_schema
from godwit.engines.postgres.ddl_versions import fit_column
from godwit.engines.postgres.objects_shapes import ColumnShape
from godwit.model.catalog import Catalog, Table, TableName
from godwit.model.datatypes import DataType, Kind
from godwit.model.endpoint import connection_from_text
from godwit.model.mapping import ColumnMapping, TableMapping
from godwit.model.report import Finding, ObjectParity, Severity
from godwit.protocols import SchemaPlan
from include.demo.servers import Database
from include.demo.shop import load_shop
from tests.conftest import OLDER_VERSION, TARGET_VERSION, Servers

PHASES = ("pre", "key", "post", "late")

PIECES = """
CREATE SCHEMA lib; CREATE SCHEMA "Other Parts";
CREATE TYPE lib.mood AS ENUM ('sad', 'it''s ok', 'a"b');
CREATE DOMAIN lib.small AS int CHECK (VALUE < 1000);
CREATE FUNCTION lib.even(i int) RETURNS bool LANGUAGE sql IMMUTABLE AS $$ SELECT i % 2 = 0 $$;
CREATE DOMAIN lib.small_even AS lib.small DEFAULT 2 CHECK (lib.even(VALUE));
CREATE TYPE lib.spot AS (x lib.small, label varchar(9));
CREATE TYPE lib.span AS RANGE (subtype = float8, subtype_diff = float8mi);
CREATE FUNCTION lib.unused() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE SEQUENCE ticket_seq AS smallint INCREMENT -2 MINVALUE -100 MAXVALUE 50 START 40 CACHE 3 CYCLE;
CREATE FUNCTION next_code() RETURNS text LANGUAGE sql AS $$ SELECT 'c' || nextval('public.ticket_seq') $$;
CREATE TABLE node (
  id bigserial PRIMARY KEY, parent bigint, mood lib.mood DEFAULT 'sad', even lib.small_even,
  spots lib.spot[], span lib.span, code text DEFAULT next_code(), name text COLLATE "C" NOT NULL,
  lower_name text GENERATED ALWAYS AS (lower(name)) STORED, big text,
  CONSTRAINT code_len CHECK (length(code) < 20), CONSTRAINT later CHECK (name <> '') NOT VALID,
  CONSTRAINT codes UNIQUE (code) DEFERRABLE INITIALLY DEFERRED) WITH (fillfactor = 70, toast.autovacuum_enabled = off);
ALTER TABLE node ALTER big SET STORAGE EXTERNAL, ALTER name SET STATISTICS 500, ALTER name SET (n_distinct = -0.5);
ALTER TABLE node ADD FOREIGN KEY (parent) REFERENCES node ON DELETE SET NULL;
CREATE TABLE edge (
  a bigint REFERENCES node, b bigint, weight numeric(8,3) NOT NULL, during tsrange,
  PRIMARY KEY (a, b), EXCLUDE USING gist (during WITH &&) WHERE (weight > 0));
ALTER TABLE edge ADD CONSTRAINT loose FOREIGN KEY (b) REFERENCES node NOT VALID;
ALTER TABLE node ADD last_a bigint, ADD last_b bigint,
  ADD CONSTRAINT cycle FOREIGN KEY (last_a, last_b) REFERENCES edge DEFERRABLE;
CREATE UNIQUE INDEX node_names ON node (lower(name), parent DESC NULLS LAST) INCLUDE (big) WHERE mood <> 'sad';
CREATE UNIQUE INDEX node_nulls ON node (last_a) NULLS NOT DISTINCT;
CREATE INDEX node_like ON node (name text_pattern_ops, code COLLATE "POSIX");
ALTER TABLE node CLUSTER ON node_like;
CREATE STATISTICS node_stats (ndistinct, mcv) ON parent, mood FROM node;
CREATE TABLE "Other Parts"."Log x" (id int GENERATED ALWAYS AS IDENTITY (START 7 INCREMENT 3), at date NOT NULL,
  "select" text DEFAULT 'a;b', PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE "Other Parts".log_20 PARTITION OF "Other Parts"."Log x" FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')
  PARTITION BY LIST (id);
CREATE TABLE lib.log_20_1 PARTITION OF "Other Parts".log_20 FOR VALUES IN (1, 2) WITH (fillfactor = 50);
CREATE TABLE "Other Parts".log_rest PARTITION OF "Other Parts"."Log x" DEFAULT;
CREATE INDEX log_select ON "Other Parts"."Log x" ("select", at);
CREATE INDEX rest_only ON "Other Parts".log_rest USING hash ("select");
CREATE TABLE follows (log_id int, log_at date, FOREIGN KEY (log_id, log_at) REFERENCES "Other Parts"."Log x");
CREATE TABLE base (id int PRIMARY KEY, v text CHECK (v <> 'no'));
CREATE TABLE heir (w int DEFAULT 5) INHERITS (base);
CREATE TABLE lib.anchor (id int); CREATE UNLOGGED TABLE scratch (v text);
ALTER TABLE scratch REPLICA IDENTITY FULL;
CREATE VIEW low AS SELECT id, name AS "the name" FROM node WHERE lib.even(id::int) WITH CASCADED CHECK OPTION;
CREATE VIEW lower_still WITH (security_barrier) AS SELECT count(*) AS n, max("the name") AS top FROM low;
CREATE VIEW by_key AS SELECT id, name, count(*) AS n FROM node GROUP BY id;
CREATE MATERIALIZED VIEW sums AS SELECT a, sum(weight) AS w FROM edge GROUP BY a;
CREATE UNIQUE INDEX sums_key ON sums (a);
CREATE MATERIALIZED VIEW not_filled AS SELECT n FROM lower_still WITH NO DATA;
CREATE RULE no_delete AS ON DELETE TO low DO INSTEAD NOTHING;
CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER normal BEFORE INSERT ON node FOR EACH ROW WHEN (NEW.name IS NOT NULL) EXECUTE FUNCTION fire('a''b');
CREATE TRIGGER always AFTER UPDATE OF name ON node FOR EACH ROW EXECUTE FUNCTION fire();
ALTER TABLE node ENABLE ALWAYS TRIGGER always;
CREATE TRIGGER replica AFTER DELETE ON node FOR EACH STATEMENT EXECUTE FUNCTION fire();
ALTER TABLE node ENABLE REPLICA TRIGGER replica;
CREATE TRIGGER off BEFORE UPDATE ON edge FOR EACH ROW EXECUTE FUNCTION fire();
ALTER TABLE edge DISABLE TRIGGER off;
CREATE TRIGGER on_parts AFTER INSERT ON "Other Parts"."Log x" FOR EACH ROW EXECUTE FUNCTION fire();
CREATE CONSTRAINT TRIGGER checked AFTER INSERT ON edge DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fire();
CREATE FUNCTION lib.pick(VARIADIC a int[] DEFAULT '{1}', OUT x int, OUT y text) LANGUAGE plpgsql AS $body$
  BEGIN x := a[1]; y := 'it''s $$ fine'; END $body$;
CREATE PROCEDURE lib.proc(INOUT i int) LANGUAGE sql BEGIN ATOMIC SELECT i + count(*) FROM public.base; END;
CREATE AGGREGATE lib.add(int) (sfunc = int4pl, stype = int, initcond = '5', parallel = safe);
ALTER TABLE node ENABLE ROW LEVEL SECURITY; ALTER TABLE node FORCE ROW LEVEL SECURITY;
CREATE POLICY evens ON node AS RESTRICTIVE FOR UPDATE USING (lib.even(id::int)) WITH CHECK (name <> 'x');
COMMENT ON TABLE node IS 'it''s a \\ node'; COMMENT ON COLUMN low."the name" IS 'name'; COMMENT ON SCHEMA lib IS 'lib';
COMMENT ON CONSTRAINT code_len ON node IS 'c'; COMMENT ON DOMAIN lib.small IS 'd'; COMMENT ON TRIGGER off ON edge IS 't';
COMMENT ON FUNCTION lib.pick(int[]) IS 'p'; COMMENT ON INDEX node_names IS 'i'; COMMENT ON TYPE lib.spot IS 'ty';
"""  # noqa: E501
# What both sides can say; what an older target cannot is in tests of its own.
if OLDER_VERSION < 15:
    PIECES = PIECES.replace("NULLS NOT DISTINCT", "")
if OLDER_VERSION < 14:
    PIECES = PIECES.replace(
        "BEGIN ATOMIC SELECT i + count(*) FROM public.base; END",
        "AS 'SELECT i + count(*)::int FROM public.base'",
    )


def connector(database: Database) -> Connector:
    return Connector(connection_from_text("schema_test", database.conn_uri), {})


def catalog_of(database: Database) -> Catalog:
    with connector(database).connect() as connection:
        return read_catalog(connection, lambda _: True, objects=True)


def same(table: Table) -> TableMapping:
    columns = tuple(ColumnMapping(c.name, c.name) for c in table.stored_columns)
    return TableMapping(table, table.name, columns, identity=table.identity)


def made(target: Database, plan: SchemaPlan, phases: Sequence[str] = PHASES) -> list[ObjectParity]:
    steps = [step for phase in phases for step in plan.phase(phase)]
    return run_schema(connector(target), steps, parallel=3)


def compared(target: Database, plan: SchemaPlan) -> list[ObjectParity]:
    with connector(target).connect() as connection:
        return parity(connection, plan)


def states(outcomes: Sequence[ObjectParity]) -> Counter[str]:
    return Counter(o.state for o in outcomes)


def not_equal(outcomes: Sequence[ObjectParity]) -> list[ObjectParity]:
    return [o for o in outcomes if o.state not in {"equal", "skipped"}]


def plan_of(catalog: Catalog, target: Database, mappings: Sequence[TableMapping]) -> SchemaPlan:
    return plan_schema(catalog, mappings, connector(target).version)


@pytest.mark.parametrize(("source", "target"), [(16, 18), (18, 16)])
def test_the_shop_arrives_whole(servers: Servers, source: int, target: int) -> None:
    with (
        servers.get(source).create_database() as here,
        servers.get(target).create_database() as there,
    ):
        load_shop(here.url, 0.01)
        catalog = catalog_of(here)
        plan = plan_of(catalog, there, [same(t) for t in catalog])
        assert not_equal(made(there, plan)) == []
        assert set(states(compared(there, plan))) == {"equal"}
        assert states(made(there, plan))["skipped"] > 200
        assert plan.findings == ()


@pytest.mark.parametrize(("source", "target"), [(16, 18), (18, 16), (18, 18)])
def test_every_piece_arrives(servers: Servers, source: int, target: int) -> None:
    with (
        servers.get(source).create_database() as here,
        servers.get(target).create_database() as there,
    ):
        here.execute(PIECES)
        catalog = catalog_of(here)
        plan = plan_of(catalog, there, [same(t) for t in catalog])
        kinds = {step.kind for step in plan.steps}
        assert {"range", "aggregate", "procedure", "policy", "trigger state", "statistics"} <= kinds
        assert not_equal(made(there, plan)) == []
        assert not_equal(compared(there, plan)) == []
        assert states(made(there, plan))["skipped"] == len([s for s in plan.steps if s.definition])
        # Nothing else came along either.
        labels = {o.label for o in catalog.objects}
        assert {o.label for o in catalog_of(there).objects} == labels


def test_phases_keep_the_rows_free_of_what_they_would_trip_over(
    source_db: Database, target_db: Database
) -> None:
    source_db.execute(PIECES)
    catalog = catalog_of(source_db)
    plan = plan_of(catalog, target_db, [same(t) for t in catalog])
    phase = {(s.kind, s.name): s.phase for s in plan.steps}
    assert phase["function", "public.next_code()"] == "pre"
    assert phase["function", "lib.even(i integer)"] == "pre"
    assert phase["function", "public.fire()"] == "post"
    assert phase["primary key", "public.node.node_pkey"] == "key"
    assert phase["unique constraint", "public.node.codes"] == "post"
    assert phase["check constraint", "public.node.code_len"] == "post"
    assert phase["foreign key", "public.node.cycle"] == "post"
    assert phase["trigger", "public.node.always"] == "post"
    assert phase["trigger state", "public.node.always"] == "late"
    assert phase["trigger state", "public.edge.off"] == "post"
    assert phase["forced row security", "public.node"] == "late"
    made(target_db, plan, ("pre", "key", "post"))
    enabled = dict(
        target_db.fetch("SELECT tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal")
    )
    assert (enabled["normal"], enabled["always"], enabled["off"]) == ("O", "D", "D")
    made(target_db, plan, ("late",))
    enabled = dict(
        target_db.fetch("SELECT tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal")
    )
    assert (enabled["always"], enabled["replica"], enabled["off"]) == ("A", "R", "D")


def test_without_a_silent_session_triggers_and_foreign_keys_wait(
    source_db: Database, target_db: Database
) -> None:
    source_db.execute(
        "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int REFERENCES a);"
        "COMMENT ON CONSTRAINT b_id_fkey ON b IS 'x'"
    )
    catalog = catalog_of(source_db)
    plan = plan_schema(catalog, [same(t) for t in catalog], 160000, silent=False)
    late = {s.kind for s in plan.phase("late")}
    assert late == {"foreign key", "comment"}


def test_names_of_tables_and_columns_change_everywhere(
    source_db: Database, target_db: Database
) -> None:
    source_db.execute(
        """
        CREATE SCHEMA old;
        CREATE TABLE old.item (id bigserial PRIMARY KEY, code text NOT NULL DEFAULT 'code', up bigint,
          price int, gone text, twice int GENERATED ALWAYS AS (price * 2) STORED,
          CONSTRAINT price_ok CHECK (price > 0 AND code <> 'price'));
        CREATE INDEX item_code ON old.item (lower(code), price) WHERE price > 5;
        CREATE INDEX item_gone ON old.item (gone);
        ALTER TABLE old.item ADD CONSTRAINT up_fk FOREIGN KEY (up) REFERENCES old.item (id);
        CREATE TABLE old.line (item bigint REFERENCES old.item (id), code text, PRIMARY KEY (item, code));
        COMMENT ON COLUMN old.item.code IS 'the code'; COMMENT ON TABLE old.item IS 'items';
        CREATE VIEW old.items AS SELECT code FROM old.item;
        CREATE FUNCTION old.count_items() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM old.item';
        CREATE TABLE old.part (id int, at int, PRIMARY KEY (id, at)) PARTITION BY LIST (at);
        CREATE TABLE old.part_1 PARTITION OF old.part FOR VALUES IN (1);
        """  # noqa: E501
    )
    catalog = catalog_of(source_db)
    new = {"code": "product_code", "id": "item_id", "price": "amount"}
    mappings = []
    for table in catalog:
        mapping = replace(same(table), target=TableName("new", table.name.name))
        if table.name.name == "item":
            columns = tuple(
                ColumnMapping(new.get(c.name, c.name), c.name)
                for c in table.stored_columns
                if c.name != "gone"
            )
            added = ColumnMapping("added", None, "'x'", DataType(Kind.TEXT, length=5))
            mapping = replace(
                mapping,
                target=TableName("new", "product"),
                columns=(*columns, added),
                identity=("item_id",),
            )
        if table.name.name == "line":
            columns = tuple(
                replace(c, target="line_code", type=DataType(Kind.TEXT, length=12))
                if c.source == "code"
                else c
                for c in mapping.columns
            )
            mapping = replace(mapping, columns=columns, identity=("item", "line_code"))
        mappings.append(mapping)
    target_db.execute("CREATE SCHEMA new")
    plan = plan_of(catalog, target_db, mappings)
    told = {(f.code, f.subject) for f in plan.findings}
    assert ("mentions-renamed", "view old.items") in told
    assert ("mentions-renamed", "function old.count_items()") in told
    assert ("uses-removed-column", "index old.item_gone") in told
    assert not_equal(made(target_db, plan)) == []
    assert not_equal(compared(target_db, plan)) == []
    target_db.execute("INSERT INTO new.product (product_code, amount) VALUES ('a', 3)")
    assert target_db.fetch(
        "SELECT item_id, product_code, amount, twice, added FROM new.product"
    ) == [(1, "a", 3, 6, None)]
    (definition,) = target_db.fetch("SELECT pg_get_indexdef('new.item_code'::regclass)")[0]
    assert definition.endswith("(lower(product_code), amount) WHERE (amount > 5)")
    assert target_db.fetch("SELECT count(*) FROM new.part_1") == [(0,)]
    types = target_db.fetch(
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = 'new.line'::regclass AND attname = 'line_code'"
    )
    assert types == [("character varying(12)",)]


def test_a_failure_stops_only_what_needs_it(source_db: Database, target_db: Database) -> None:
    source_db.execute(
        """CREATE TABLE a (id int PRIMARY KEY, v int); CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a);
        CREATE INDEX a_v ON a (v); CREATE VIEW va AS SELECT v FROM a; CREATE VIEW vva AS SELECT v FROM va;
        CREATE TABLE c (id int PRIMARY KEY); CREATE VIEW vc AS SELECT id FROM c;"""  # noqa: E501
    )
    target_db.execute("CREATE VIEW a AS SELECT 1 AS one")
    catalog = catalog_of(source_db)
    plan = plan_of(catalog, target_db, [same(t) for t in catalog])
    outcomes = {(o.kind, o.name): o for o in made(target_db, plan)}
    failed = {key for key, o in outcomes.items() if o.state == "failed"}
    assert ("table", "public.a") in failed
    assert {("view", "public.va"), ("view", "public.vva"), ("index", "public.a_v")} <= failed
    assert "it needs the table public.a" in outcomes["primary key", "public.a.a_pkey"].detail
    assert not failed & {("table", "public.b"), ("table", "public.c"), ("view", "public.vc")}
    found = {(o.kind, o.name): o.state for o in compared(target_db, plan)}
    assert (found["table", "public.a"], found["view", "public.vc"]) == ("missing", "equal")


def test_what_is_there_and_differs_is_left_alone(source_db: Database, target_db: Database) -> None:
    source_db.execute("CREATE TABLE t (id int PRIMARY KEY, v text); CREATE INDEX i ON t (v)")
    target_db.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v varchar(9)); INSERT INTO t VALUES (1, 'x')"
    )
    catalog = catalog_of(source_db)
    plan = plan_of(catalog, target_db, [same(t) for t in catalog])
    outcomes = {o.kind: o for o in made(target_db, plan)}
    assert outcomes["table"].state == "differs"
    assert "character varying(9)" in outcomes["table"].detail
    assert (outcomes["primary key"].state, outcomes["index"].state) == ("skipped", "equal")
    assert target_db.fetch("SELECT * FROM t") == [(1, "x")]


def test_an_interrupted_constraint_or_index_is_finished(
    source_db: Database, target_db: Database
) -> None:
    tables = "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY, a int);"
    source_db.execute(
        tables + "ALTER TABLE b ADD CONSTRAINT fk FOREIGN KEY (a) REFERENCES a;"
        "CREATE UNIQUE INDEX ua ON b (a)"
    )
    target_db.execute(
        tables + "INSERT INTO b VALUES (1, 7), (2, 7);"
        "ALTER TABLE b ADD CONSTRAINT fk FOREIGN KEY (a) REFERENCES a NOT VALID"
    )
    with target_db.connect() as connection, pytest.raises(Exception, match="could not create"):
        connection.execute("CREATE UNIQUE INDEX CONCURRENTLY ua ON b (a)")
    target_db.execute("TRUNCATE b")
    catalog = catalog_of(source_db)
    plan = plan_of(catalog, target_db, [same(t) for t in catalog])
    outcomes = {
        o.name: o.state for o in made(target_db, plan) if o.kind in {"index", "foreign key"}
    }
    assert outcomes == {"public.b.fk": "equal", "public.ua": "equal"}
    assert not_equal(compared(target_db, plan)) == []


def test_big_tables_get_their_indexes_without_stopping_writers(
    source_db: Database, target_db: Database
) -> None:
    source_db.execute("CREATE TABLE t (id int PRIMARY KEY, v text); CREATE INDEX i ON t (v)")
    catalog = catalog_of(source_db)
    mapping = same(replace(catalog.tables[0], rows=200_000))
    plan = plan_of(catalog, target_db, [mapping])
    (step,) = [s for s in plan.steps if s.kind == "index"]
    assert step.concurrent
    assert "CONCURRENTLY" in step.statements[0]
    assert not_equal(made(target_db, plan)) == []
    assert not_equal(compared(target_db, plan)) == []


def test_what_is_not_selected_is_a_finding_for_what_needs_it(
    source_db: Database, target_db: Database
) -> None:
    source_db.execute(
        """CREATE SCHEMA s; CREATE TABLE s.kept (id int PRIMARY KEY); CREATE SCHEMA x;
        CREATE TABLE x.away (id int PRIMARY KEY); CREATE TYPE x.mood AS ENUM ('a');
        CREATE TYPE x.unused AS ENUM ('a');
        ALTER TABLE s.kept ADD o int REFERENCES x.away, ADD m x.mood;
        CREATE VIEW s.both AS SELECT k.id FROM s.kept k JOIN x.away o USING (id);
        CREATE VIEW s.more AS SELECT id FROM s.both;
        CREATE OPERATOR s.=== (leftarg = int, rightarg = int, function = int4eq);"""
    )
    with connector(source_db).connect() as connection:
        catalog = read_catalog(connection, lambda name: name.schema == "s", objects=True)
    plan = plan_of(catalog, target_db, [same(t) for t in catalog])
    told = {f.subject: f for f in plan.findings}
    assert set(told) == {
        "foreign key s.kept.kept_o_fkey",
        "view s.both",
        "view s.more",
        "operator s.s.===(integer,integer)",
    }
    assert "x.away" in told["view s.both"].reason
    names = {(s.kind, s.name) for s in plan.steps}
    assert ("enum", "x.mood") in names
    assert ("enum", "x.unused") not in names
    assert not_equal(made(target_db, plan)) == []
    assert not_equal(compared(target_db, plan)) == []


def test_older_targets_get_what_they_can_have(servers: Servers) -> None:
    with servers.get(18).create_database() as here, servers.get(16).create_database() as there:
        here.execute(
            """CREATE TABLE t (id int PRIMARY KEY, a int CONSTRAINT named NOT NULL, b int,
              v int GENERATED ALWAYS AS (a + 1) VIRTUAL, CONSTRAINT soft CHECK (a > 0) NOT ENFORCED);
            ALTER TABLE t ADD CONSTRAINT nn NOT NULL b NOT VALID;"""  # noqa: E501
        )
        catalog = catalog_of(here)
        plan = plan_of(catalog, there, [same(t) for t in catalog])
        told = sorted((f.subject, f.reason) for f in plan.findings)
        assert [subject for subject, _ in told] == [
            "check constraint public.t.soft",
            "not-null constraint public.t.nn",
            "table public.t",
        ]
        assert "stored instead of virtual" in told[2][1]
        assert not_equal(made(there, plan)) == []
        assert not_equal(compared(there, plan)) == []


def test_a_view_that_another_version_spells_otherwise_is_equal(
    source_db: Database, target_db: Database
) -> None:
    source_db.execute(
        "CREATE TABLE t (id int, v int); CREATE VIEW w AS SELECT id FROM t WHERE v > 1"
    )
    catalog = catalog_of(source_db)
    plan = plan_of(catalog, target_db, [same(t) for t in catalog])
    # As 15 and older write it.
    old = [
        replace(
            step,
            statements=tuple(s.replace("SELECT id", "SELECT t.id") for s in step.statements),
            definition=step.definition.replace("SELECT id", "SELECT t.id"),
        )
        for step in plan.steps
    ]
    plan = SchemaPlan(tuple(old))
    assert not_equal(made(target_db, plan)) == []
    assert not_equal(compared(target_db, plan)) == []
    assert {o.state for o in made(target_db, plan) if o.kind == "view"} == {"skipped"}
    target_db.execute("CREATE OR REPLACE VIEW w AS SELECT id FROM t WHERE v > 2")
    assert [o.name for o in not_equal(compared(target_db, plan))] == ["public.w"]


def test_many_tables_quickly(source_db: Database, target_db: Database) -> None:
    source_db.execute(
        "DO $$ BEGIN FOR i IN 1..500 LOOP EXECUTE format('CREATE TABLE many_%s (id int PRIMARY KEY,"
        " a text); CREATE INDEX ON many_%1$s (a)', i); END LOOP; END $$"
    )
    catalog = catalog_of(source_db)
    plan = plan_of(catalog, target_db, [same(t) for t in catalog])
    assert not_equal(made(target_db, plan)) == []
    assert states(compared(target_db, plan)) == {"equal": 1501}


def test_dropping_says_what_went_along(target_db: Database) -> None:
    target_db.execute("CREATE TABLE t (id int); CREATE VIEW v AS SELECT id FROM t")
    table = Table(TableName("public", "t"), ())
    with connector(target_db).connect(role="target") as connection:
        dropped = drop_tables(connection, [TableMapping(table, table.name, ())])
        assert dropped == ["drop cascades to view public.v"]
        assert drop_tables(connection, [TableMapping(table, table.name, ())]) == []


def codes(findings: Sequence[Finding], severity: Severity) -> set[str]:
    return {f.code for f in findings if f.severity == severity}


def test_a_poor_role_is_told_what_it_lacks(source_db: Database, target_db: Database) -> None:
    tables = """CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE bare (v int); CREATE TABLE safe (id int PRIMARY KEY);
      ALTER TABLE safe ENABLE ROW LEVEL SECURITY; CREATE UNLOGGED TABLE scratch (id int PRIMARY KEY);"""  # noqa: E501
    source_db.execute(tables)
    target_db.execute(
        "CREATE VIEW bare AS SELECT 1 AS v; CREATE TABLE t (id int); INSERT INTO t VALUES (1)"
    )
    catalog = catalog_of(source_db)
    for database in (source_db, target_db):
        database.execute(
            "DO $$ BEGIN CREATE ROLE poor LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
        )
    poor = [
        Connector(connection_from_text("poor", db.conn_uri.replace("//postgres@", "//poor@")), {})
        for db in (source_db, target_db)
    ]
    found = check_source(poor[0], "m", catalog.tables, capture=True)
    assert {
        "no-select",
        "row-security",
        "replication-privilege",
        "create-publication",
        "table-owner",
    } == codes(found, Severity.ERROR)
    assert {"insert-only", "not-logged"} <= codes(found, Severity.WARNING)
    assert all(f.hint for f in found if f.severity != Severity.INFO)
    assert 'GRANT SELECT ON "public"."t" TO "poor";' in {f.hint for f in found}
    found = check_source(connector(source_db), "m", catalog.tables, capture=True)
    assert codes(found, Severity.ERROR) == set()
    mappings = [same(t) for t in catalog]
    found = check_target(poor[1], "m", mappings)
    # Before 15 everybody may make tables in public.
    lacking = {"create-in-schema"} if TARGET_VERSION >= 15 else set()
    assert {"create-schema", "in-the-way"} | lacking == codes(found, Severity.ERROR)
    assert {"replica-role", "table-owner"} <= codes(found, Severity.WARNING)
    found = check_target(connector(target_db), "m", mappings)
    assert (codes(found, Severity.ERROR), codes(found, Severity.WARNING)) == (
        {"in-the-way"},
        {"has-rows"},
    )


def test_numbers_of_wide_scale_have_no_limits_before_15() -> None:
    for kind in ("numeric(3,-2)", "numeric(2,4)", "numeric(3,-2)[]"):
        column, notes = fit_column(ColumnShape("v", kind), 140000)
        assert column.type == kind.replace(kind.partition(")")[0] + ")", "numeric")
        assert notes
        assert fit_column(ColumnShape("v", kind), 150000)[0].type == kind
    assert fit_column(ColumnShape("v", "numeric(12,2)"), 130000) == (
        ColumnShape("v", "numeric(12,2)"),
        [],
    )
