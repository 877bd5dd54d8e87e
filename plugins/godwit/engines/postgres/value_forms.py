"""Canonical forms of values that every engine knows, as PostgreSQL computes them.

What the forms are is told in `godwit.model.values`.
"""

from __future__ import annotations

from psycopg import sql

from godwit.model import values

_NUMBERS = frozenset({"smallint", "integer", "bigint", "numeric", "boolean"})
_FLOATS = frozenset({"real", "double precision"})
_BITS = frozenset({"bit", "bit varying", '"bit"'})
_FORMS = {
    "bytea": (values.BINARY,),
    "geometry": (values.BINARY,),
    "date": (values.DATE,),
    "time without time zone": (values.TIME,),
    "timestamp without time zone": (values.TIMESTAMP,),
    "timestamp with time zone": (values.INSTANT,),
    "interval": (values.DURATION, values.TEXT),
    "text[]": (values.SET, values.TEXT),
    "character varying[]": (values.SET, values.TEXT),
}


def forms(type_name: str) -> tuple[str, ...]:
    """The forms that a column of this type (without modifier) can be given, best first."""
    bare = type_name.rpartition(".")[2]
    if bare in _NUMBERS:
        return (values.NUMBER,)
    if bare in _FLOATS:
        return (values.FLOAT,)
    if bare in _BITS:
        return values.BITS, values.TEXT
    return _FORMS.get(bare, (values.TEXT, values.STRIPPED))


def rendered(form: str, column: sql.Composable, type_name: str, *, utf8: bool) -> sql.Composable:
    """The form's text of a column; NULL stays NULL. `utf8`: so is the database."""
    if form == values.NUMBER:
        return sql.SQL(_number(type_name)).format(column)
    if form == values.BINARY:
        return _binary(column, type_name)
    if form in {values.TEXT, values.STRIPPED, values.SET}:
        template = "array_to_string({}, ',')" if form == values.SET else "{}::text"
        if type_name == "inet":
            # Its cast shows a mask that its output leaves out.
            template = "CASE WHEN {0} IS NOT NULL THEN format('%s', {0}) END"
        return _shortened(sql.SQL(template).format(column), utf8=utf8)
    return sql.SQL(_TEMPLATES[form]).format(column)


def _number(type_name: str) -> str:
    if type_name == "boolean":
        return "{0}::integer::text"
    return "trim_scale({0})::text" if type_name == "numeric" else "{0}::text"


def _binary(column: sql.Composable, type_name: str) -> sql.Composable:
    raw = column
    if type_name.rpartition(".")[2] == "geometry":
        # The extension's functions live in its own schema, as its type does.
        schema = type_name.rpartition(".")[0]
        function = f"{schema}.st_asewkb" if schema else "public.st_asewkb"
        raw = sql.SQL(function + "({})").format(column)
    return sql.SQL(
        "CASE WHEN octet_length({0}) > {1} THEN '#' || encode(sha256({0}), 'hex')"
        " ELSE encode({0}, 'hex') END"
    ).format(raw, sql.Literal(values.LONG))


def _shortened(text: sql.Composable, *, utf8: bool) -> sql.Composable:
    octets = "octet_length({0})" if utf8 else "octet_length(convert_to({0}, 'UTF8'))"
    return sql.SQL(
        f"CASE WHEN {octets} > {{1}} THEN '#' || encode(sha256(convert_to({{0}}, 'UTF8')), 'hex')"
        " ELSE {0} END"
    ).format(text, sql.Literal(values.LONG))


#: Years behind 9999, BC and infinity have texts of their own in the server's ISO style.
_CLOCK = "to_char({0}, 'HH24:MI:SS.US')"
_DAY = "split_part({0}::text, ' ', 1)"
_ERA = "CASE WHEN {0} < '0001-01-01' THEN ' BC' ELSE '' END"
_MOMENT = f"CASE WHEN isfinite({{0}}) THEN {_DAY} || ' ' || {_CLOCK} || {_ERA} ELSE {{0}}::text END"
#: Two texts may be the shortest of a number that lies halfway (1e23): this server then shows the
#: longer one, others the shorter, which `numeric` makes with its 15 digits.
_TEMPLATES = {
    values.BITS: "{0}::text",
    values.DATE: "{0}::text",
    # Midnight at the end of a day is a time of day here; as text it needs its fraction only.
    values.TIME: "CASE WHEN {0} = '24:00' THEN '24:00:00.000000' ELSE to_char({0}::interval,"
    " 'HH24:MI:SS.US') END",
    values.TIMESTAMP: _MOMENT,
    values.INSTANT: _MOMENT,
    values.DURATION: "trunc(extract(epoch FROM {0})::numeric * 1000000)::text",
    values.FLOAT: """
(SELECT CASE
  WHEN t IN ('NaN', 'Infinity', '-Infinity') THEN t
  WHEN t IN ('0', '-0') THEN '0'
  ELSE (CASE WHEN t LIKE '-%%' THEN '-' ELSE '' END) || rtrim(ltrim(d, '0'), '0') || 'e'
    || (e + strpos(m || '.', '.') - 1 - (length(d) - length(ltrim(d, '0')))) END
 FROM (SELECT t, m, replace(m, '.', '') AS d, e FROM
   (SELECT t, ltrim(split_part(t, 'e', 1), '-') AS m,
     coalesce(nullif(split_part(t, 'e', 2), ''), '0')::numeric AS e FROM
     (SELECT CASE WHEN t LIKE '%%N%%' OR t LIKE '%%I%%' OR length(t) < 17 THEN t
        -- Rounded to so few digits the very largest numbers are none any more.
        WHEN abs(x) NOT BETWEEN 1e-300 AND 1e300 THEN t
        WHEN x::numeric::double precision = x THEN x::numeric::text ELSE t END AS t FROM
       (SELECT x, x::text AS t FROM (SELECT {0}::double precision AS x) AS f00) AS f01
     ) AS f0) AS f1) AS f2)""".replace("%%", "%"),
}


def matching(
    form: str, column: sql.Composable, type_name: str, text: sql.Composable
) -> sql.Composable:
    """The condition that a column has this canonical text, made so that an index serves it."""
    if form in {values.FLOAT, values.SET}:
        return sql.SQL("{} = {}").format(rendered(form, column, type_name, utf8=True), text)
    if form == values.BINARY and type_name != "bytea":
        return sql.SQL("{} = {}").format(_binary(column, type_name), text)
    template = _PARSED.get(form, "{1}::{2}")
    if form == values.NUMBER and type_name == "boolean":
        template = "({1} = '1')"
    return sql.SQL("{0} = " + template).format(column, text, sql.SQL(type_name))


_PARSED = {
    values.BINARY: "decode({1}, 'hex')",
    values.INSTANT: "CASE WHEN {1} LIKE '%infinity' THEN {1} ELSE {1} || '+00' END::{2}",
    values.DURATION: "({1} || ' microseconds')::interval",
}
