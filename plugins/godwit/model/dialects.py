"""Expressions (defaults, checks, generated columns, index parts) in another SQL dialect's words.

A translation is a proposal: it parses in the other dialect, and everything in it is known to mean
the same there. The target has the last word, by trying it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from sqlglot import Token, TokenType, exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import ErrorLevel, SqlglotError

#: Functions that no dialect's parser knows by name, and that mean the same wherever they are.
_SHARED = frozenset({"octet_length", "bit_length", "char_length", "character_length", "pi"})
#: A literal that is cast to one of these is nothing but its text in another dialect.
_PLAIN_TEXTS = frozenset(
    {
        *exp.DataType.TEXT_TYPES,
        exp.DType.USERDEFINED,
        exp.DType.BPCHAR,
        exp.DType.JSON,
        exp.DType.JSONB,
        exp.DType.UUID,
        exp.DType.INET,
        exp.DType.XML,
    }
)
_BINARY = frozenset({exp.DType.VARBINARY, exp.DType.BINARY})
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_HEX = re.compile(r"\\x((?:[0-9a-fA-F]{2})*)")
#: Words that some dialect reads as a time when a literal of them is cast.
_MOMENTS = frozenset(
    {"now", "today", "tomorrow", "yesterday", "epoch", "infinity", "-infinity", "allballs"}
)
_NOW = frozenset({"now", "current_timestamp", "localtime", "localtimestamp"})
_SPAN = re.compile(r"(-?\d+) (year|month|day|hour|minute|second|mon|min|sec)s?", re.IGNORECASE)
_UNITS = {"mon": "month", "min": "minute", "sec": "second"}
#: What cannot be said in both worlds, or means another thing there.
_FOREIGN = (exp.Subquery, exp.Select, exp.Command, exp.Parameter, exp.SessionParameter)
#: Means another thing elsewhere, or by place: division of integers, numbers or bytes in hex, …
_AMBIGUOUS = (
    *(exp.Div, exp.HexString, exp.ByteString, exp.RawString, exp.Rand, exp.Collate),
    *(exp.RegexpILike, exp.JSONValue, exp.JSONBContains, exp.Array),
)

_Rule = Callable[[exp.Expr], exp.Expr]


class _UntranslatableError(Exception):
    """Something in the expression means nothing, or another thing, in the other dialect."""


def translate(
    expression: str, read: str, write: str, columns: Mapping[str, str] | None = None
) -> str | None:
    """The expression of the dialect `read` in the words of `write`; None when that cannot be said.

    `columns`: new names of the columns it may mention, by their old ones; one that mentions another
    column has no translation. Dialects are called as engines are.
    """
    try:
        tree = _parsed(expression, read)
        _refuse(tree)
        tree = _renamed(tree, read, columns)
        if read != write:
            for rule in _rules(read):
                tree = tree.transform(rule)
        text = tree.sql(dialect=write, identify=True, unsupported_level=ErrorLevel.RAISE)
        _check(text, write, known=read == write)
    except (SqlglotError, _UntranslatableError, RecursionError, ValueError):
        return None
    return text


def mentioned(expression: str, read: str) -> frozenset[str] | None:
    """Names of columns in an expression, as it writes them; None when it cannot be read."""
    try:
        tree = _parsed(expression, read)
    except (SqlglotError, RecursionError, ValueError):
        return None
    return frozenset(column.name for column in tree.find_all(exp.Column))


def _parsed(text: str, read: str) -> exp.Expr:
    try:
        return _parse(text, read)
    except SqlglotError:
        # Some catalogs show expressions with the quotes escaped as for one more string around.
        if "\\'" not in text:
            raise
        return _parse(text.replace("\\'", "'"), read)


def _parse(text: str, read: str) -> exp.Expr:
    dialect = Dialect.get_or_raise(read)
    found = dialect.parser().parse(_without_introducers(dialect.tokenize(text)), text)
    if len(found) != 1 or found[0] is None:
        raise _UntranslatableError
    return found[0]


def _without_introducers(tokens: Sequence[Token]) -> list[Token]:
    """A character set before a literal says how it is stored; the text is the same text."""
    literals = {TokenType.STRING, TokenType.NATIONAL_STRING}
    kept = []
    for token, after in zip(tokens, [*tokens[1:], None], strict=True):
        if token.token_type is TokenType.INTRODUCER:
            if after is None or after.token_type not in literals or token.text.lower() == "_binary":
                raise _UntranslatableError
            continue
        kept.append(token)
    return kept


def _refuse(tree: exp.Expr) -> None:
    if any(isinstance(node, _FOREIGN) for node in tree.walk()):
        raise _UntranslatableError


def _renamed(tree: exp.Expr, read: str, columns: Mapping[str, str] | None) -> exp.Expr:
    """Columns under their new names, without a table before them, as the catalog spells them."""
    by_sound = {name.casefold(): name for name in columns or ()}
    dialect = Dialect.get_or_raise(read)

    def rule(node: exp.Expr) -> exp.Expr:
        if not isinstance(node, exp.Column):
            return node
        if not isinstance(node.this, exp.Identifier):
            raise _UntranslatableError
        name = dialect.normalize_identifier(node.this.copy()).name
        if columns is not None:
            name = name if name in columns else by_sound.get(node.name.casefold(), "")
            if not name:
                raise _UntranslatableError
            name = columns[name]
        return exp.column(exp.to_identifier(name, quoted=True))

    return tree.transform(rule)


def _rules(read: str) -> tuple[_Rule, ...]:
    # A dialect in which CAST(x AS CHAR) is how text is said means no single character by it.
    spoken = exp.cast(exp.column("x"), exp.DType.TEXT).sql(dialect=read).upper()
    open_char = "AS CHAR" in spoken

    def casts(node: exp.Expr) -> exp.Expr:
        return _cast(node, open_char=open_char) if isinstance(node, exp.Cast) else node

    return (_any_of, _function, _current_time, casts)


def _any_of(node: exp.Expr) -> exp.Expr:
    """`a = ANY (ARRAY[…])` is a list to be in."""
    if not isinstance(node, exp.EQ) or not isinstance(node.expression, exp.Any):
        return node
    listed = node.expression.this.unnest()
    while isinstance(listed, exp.Cast | exp.Paren):
        listed = listed.this
    if not isinstance(listed, exp.Array) or not listed.expressions:
        raise _UntranslatableError
    return exp.In(this=node.this, expressions=listed.expressions)


def _cast(node: exp.Cast, *, open_char: bool) -> exp.Expr:
    kind, inner = node.to, _innermost(node)
    if kind.args.get("nested") or kind.is_type(exp.DType.ARRAY):
        raise _UntranslatableError
    if isinstance(inner, exp.BitString) and kind.this is exp.DType.BIT:
        return inner
    literal = _literal_cast(inner, kind, open_char=open_char)
    if literal is not None:
        return literal
    name = kind.this
    if name in {exp.DType.USERDEFINED, exp.DType.UNKNOWN, exp.DType.INTERVAL}:
        raise _UntranslatableError
    if name is exp.DType.DECIMAL and not kind.expressions:
        # Ten digits in one dialect, any number of them in another.
        raise _UntranslatableError
    if name is exp.DType.CHARACTER_SET:
        return exp.cast(node.this, exp.DType.TEXT)
    if open_char and name in {exp.DType.CHAR, exp.DType.NCHAR}:
        if not kind.expressions:
            return exp.cast(node.this, exp.DType.TEXT)
        kind = exp.DataType(this=exp.DType.VARCHAR, expressions=kind.expressions)
        return exp.cast(node.this, kind)
    if name in {exp.DType.UBIGINT, exp.DType.UINT}:
        return exp.cast(node.this, exp.DataType.build("decimal(20, 0)"))
    return node


def _innermost(node: exp.Cast) -> exp.Expr:
    """What is cast; a literal also from under casts to text."""
    inner = outer = node.this.unnest()
    while isinstance(inner, exp.Cast) and inner.to.this in exp.DataType.TEXT_TYPES:
        inner = inner.this.unnest()
    return inner if isinstance(inner, exp.Literal) else outer


def _literal_cast(inner: exp.Expr, kind: exp.DataType, *, open_char: bool) -> exp.Expr | None:
    """What a cast literal is without the cast; None when it needs it."""
    negative = isinstance(inner, exp.Neg) and isinstance(inner.this, exp.Literal)
    if not negative and not isinstance(inner, exp.Literal):
        return None
    text, name = inner.name, kind.this
    if negative:
        text = f"-{inner.this.name}"
    if name is exp.DType.DECIMAL or name in exp.DataType.INTEGER_TYPES:
        return _number(text, kind, open_char=open_char)
    return _text_cast(inner, kind) if inner.is_string else None


def _number(text: str, kind: exp.DataType, *, open_char: bool) -> exp.Expr:
    # Where CAST(x AS CHAR) is text, a DECIMAL without digits has ten and no fraction.
    unbounded = kind.this is exp.DType.DECIMAL and not kind.expressions and not open_char
    if not _NUMBER.fullmatch(text) or not (text.lstrip("-").isdigit() or unbounded):
        raise _UntranslatableError
    return exp.maybe_parse(text)


def _text_cast(inner: exp.Expr, kind: exp.DataType) -> exp.Expr | None:
    text, name = inner.name, kind.this
    if name in _PLAIN_TEXTS:
        limit = kind.expressions[0].name if kind.expressions else ""
        return inner if not limit or (limit.isdigit() and len(text) <= int(limit)) else None
    if name in _BINARY:
        match = _HEX.fullmatch(text)
        if match is None:
            raise _UntranslatableError
        return exp.HexString(this=match[1])
    if name is exp.DType.INTERVAL:
        return _interval(inner)
    if text.lower() in _MOMENTS:
        raise _UntranslatableError
    return None


def _interval(inner: exp.Expr) -> exp.Expr:
    match = _SPAN.fullmatch(inner.name)
    if match is None:
        raise _UntranslatableError
    unit = match[2].lower()
    return exp.Interval(this=exp.Literal.string(match[1]), unit=exp.var(_UNITS.get(unit, unit)))


def _current_time(node: exp.Expr) -> exp.Expr:
    """The digits of the second are kept: a dialect's own rules forget them."""
    if isinstance(node, exp.CurrentTimestamp | exp.Localtimestamp):
        digits = node.args.get("this")
    elif isinstance(node, exp.Anonymous) and node.name.lower() in _NOW:
        digits = node.expressions[0] if node.expressions else None
    else:
        return node
    if digits is None:
        return exp.CurrentTimestamp()
    if not isinstance(digits, exp.Literal):
        raise _UntranslatableError
    return exp.var(f"CURRENT_TIMESTAMP({digits.name})")


def _function(node: exp.Expr) -> exp.Expr:
    if isinstance(node, exp.Anonymous) and node.name.lower() not in {*_SHARED, *_NOW}:
        raise _UntranslatableError
    if isinstance(node, _AMBIGUOUS):
        raise _UntranslatableError
    if isinstance(node, exp.Length) and node.args.get("binary"):
        return exp.Anonymous(this="OCTET_LENGTH", expressions=[node.this])
    if isinstance(node, exp.Extract):
        part = node.this.unnest()
        part = part.this if isinstance(part, exp.Cast) else part
        return exp.Extract(this=exp.var(part.name), expression=node.expression)
    return node


def _check(text: str, write: str, *, known: bool) -> None:
    """It can be read again, and no function in it is one that the dialect has never heard of."""
    tree = _parse(text, write)
    for node in tree.find_all(exp.Anonymous):
        if not known and node.name.lower() not in {*_SHARED, *_NOW}:
            raise _UntranslatableError
