"""Making rows on the target as the source has them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

import pyarrow as pa

from godwit.errors import LoadError
from godwit.model import values
from godwit.model.changes import Format, Payload
from godwit.model.datatypes import Kind
from godwit.model.mapping import TableMapping
from godwit.protocols import Control, Source, Target
from godwit.steps.comparison import KEYS_AT_ONCE, Comparison, Pair, batches
from godwit.steps.recheck import Outcome
from godwit.steps.reshape import Reshape

#: A row that changes while it is repaired may be repaired from a version already overtaken.
ATTEMPTS = 5


class Repair:
    """Repairs rows by their identity, and looks at them again.

    Args:
        source, target, control: of the migration.
        comparison: looks again.
        following: changes are being applied meanwhile.
    """

    def __init__(
        self,
        source: Source,
        target: Target,
        control: Control,
        comparison: Comparison,
        *,
        following: bool,
    ) -> None:
        self._source, self._target, self._control = source, target, control
        self._comparison = comparison
        self._following = following
        self._epoch = control.take_epoch("repair")

    def rows(self, pair: Pair, keys: Collection[str]) -> Outcome[str]:
        """Make these rows right; returns those that still differ."""
        outcome: Outcome[str] = Outcome(dict.fromkeys(keys, (None, None)))
        for _ in range(ATTEMPTS):
            for batch in batches(outcome.persisting, KEYS_AT_ONCE):
                self._write(pair, batch)
            outcome = self._comparison.recheck_rows(pair, list(outcome.persisting))
            if not outcome.persisting:
                break
        return outcome

    def _write(self, pair: Pair, keys: Iterable[str]) -> None:
        mapping = pair.mapping
        shared = self._format(mapping)
        reshape = Reshape([mapping], shared, self._source.rows_by_key)
        found, gone = reshape.reselect(mapping, _payload(pair, keys))
        if self._following:
            # Changes up to here are in the rows just read, and will be applied on top of them.
            self._control.set_settled(self._source.position())
        self._target.repair(mapping, found, gone, self._epoch, shared)

    def _format(self, mapping: TableMapping) -> Format:
        """Columns that both sides know: identities arrive here as texts."""
        names = [c.source for c in mapping.columns if c.source is not None]
        offered = self._source.formats(mapping.source, names)
        for shared in self._target.formats(mapping):
            if shared.columnar and shared in offered:
                return shared
        raise LoadError(
            "rows cannot be repaired one by one",
            where=str(mapping.source.name),
            why="source and target share no format of columns",
            hint="load the table again: `godwit reload FILE --table …`",
        )


def _payload(pair: Pair, keys: Iterable[str]) -> Payload:
    rows = [values.key_texts(key) for key in keys]
    source, table = pair.source, pair.mapping.source
    names = tuple(source.columns[position] for position in source.key)
    columns = []
    for i, position in enumerate(source.key):
        form, kind = source.kinds[position], table.column(names[i]).type
        bits = kind.bits if kind.kind is Kind.BIT else 0
        texts = [None if (t := row[i]) is None else exchanged(form, t, bits) for row in rows]
        columns.append(pa.array(texts, pa.string()))
    return Payload(names, len(rows), pa.RecordBatch.from_arrays(columns, names=list(names)))


_FLOAT = re.compile(r"(-?)(\d+)e(-?\d+)")


def exchanged(form: str, text: str, bits: int = 0) -> str:
    """A value as the exchange form has it, for one in the canonical form of comparing (both: see
    `godwit.model.values`).

    Args:
        form: of comparing; an engine's own text is left alone.
        text: the value.
        bits: the column's length if it holds bit strings, which may be compared as numbers.
    """
    if form == values.NUMBER and bits:
        return f"{int(text):0{bits}b}"
    if form == values.BINARY:
        return "\\x" + text
    if form == values.INSTANT and not text.endswith("infinity"):
        day, era = (text[:-3], " BC") if text.endswith(" BC") else (text, "")
        return f"{day}+00{era}"
    if form == values.DURATION:
        seconds, micros = divmod(abs(int(text)), 1_000_000)
        sign = "-" if int(text) < 0 else ""
        clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        return f"{sign}{clock}.{micros:06}"
    if form == values.FLOAT and (found := _FLOAT.fullmatch(text)):
        return f"{found[1]}0.{found[2]}e{found[3]}"
    return text
