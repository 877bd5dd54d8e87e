"""Tables that follow others by foreign keys of which the source's log does not tell what they do.

The target repeats what such keys do (`Cascade`), by its own rows. While tables are still being
caught up its rows may be newer than the log's moment. To a table right behind the changed one this
does no harm, unless a key passes from row to row. Behind a table in between it does: when that
table's row is gone already nobody knows any more whose rows followed it. Such tables are loaded
again, once, parents first; the marks of their snapshots tell the stream what is in them already.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from godwit.model.catalog import TableName
from godwit.model.changes import Cascade, Stage

if TYPE_CHECKING:
    from godwit.model.catalog import ForeignKey
    from godwit.model.mapping import TableMapping
    from godwit.protocols import Control, Reporter

_NONE = frozenset({"NO ACTION", "RESTRICT"})
_MEMORY = "loaded again for their foreign keys"


class Following:
    """Who follows whom among the tables of a migration."""

    def __init__(self, mappings: Sequence[TableMapping]) -> None:
        self._children: dict[TableName, list[tuple[TableName, ForeignKey]]] = {}
        for mapping in mappings:
            for key in mapping.source.foreign_keys:
                if key.silent:
                    known = self._children.setdefault(key.referenced, [])
                    known.append((mapping.source.name, key))
        #: Tables that were loaded again since all others were.
        self._certain: set[TableName] = set()

    def reach(self, tables: Iterable[TableName]) -> set[TableName]:
        """All that follow any of these, directly or behind others."""
        reach: set[TableName] = set()
        front = list(tables)
        while front:
            for child, _ in self._children.get(front.pop(), ()):
                if child not in reach:
                    reach.add(child)
                    front.append(child)
        return reach

    def in_order(self, tables: Iterable[TableName]) -> list[TableName]:
        """These tables, each behind those that it follows; else as they come."""
        left = list(tables)
        order = []
        while left:
            free = [t for t in left if not any(t in self.reach([o]) for o in left if o != t)]
            # In a ring of tables nobody is first.
            order += free or left
            left = [t for t in left if t not in order]
        return order

    def uncertain(self, stages: Iterable[Stage]) -> set[TableName]:
        """Tables of which the target's rows may not tell whether they followed."""
        found: set[TableName] = set()
        for stage in stages:
            if not isinstance(stage, Cascade):
                continue
            if stage.new is not None:
                if any(k.on_update not in _NONE for _, k in self._children.get(stage.table, ())):
                    found |= self.reach([stage.table])
                continue
            for child, key in self._children.get(stage.table, ()):
                if key.on_delete not in _NONE:
                    found |= self.reach([child])
        return found

    def load_again(self, stages: Iterable[Stage], control: Control, report: Reporter) -> bool:
        """Ask for the tables that these stages leave uncertain, unless it has been done; returns
        whether any was asked for. To be called before the stages are applied.
        """
        found = self.uncertain(stages) - self._certain
        if not found or control.plan() is None:
            return False
        marked = {line.chunk.table for line in control.loaded().values() if line.mark is not None}
        done = {TableName(*told) for told in control.recall(_MEMORY) or []}
        self._certain |= done & marked
        asked = found - self._certain
        # What follows a table that is loaded again has to be newer than it.
        asked = (asked | self.reach(asked)) - set(control.suspended())
        if not asked:
            return False
        for table in self.in_order(sorted(asked)):
            control.ask_reload(table)
            report.event("table", {"table": list(table), "state": "suspended", "last_error": ""})
        control.remember(_MEMORY, [list(table) for table in sorted(done | asked)])
        return True

    def ask_followers(self, control: Control) -> None:
        """What follows a table that is to be loaded again is loaded again as well: its log was not
        read while the table was suspended.
        """
        asked = set(control.reloads())
        more = self.reach(asked) - asked - set(control.suspended())
        for table in self.in_order(sorted(more)):
            control.ask_reload(table)
