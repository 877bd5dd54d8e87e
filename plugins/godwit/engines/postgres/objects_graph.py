"""What the readers of native objects hand over: objects, and what stands for what in pg_depend."""

from __future__ import annotations

from dataclasses import dataclass, field

from godwit.model.catalog import NativeObject

#: A row of the catalogs: the catalog's name and the row's OID.
Key = tuple[str, int]


@dataclass(frozen=True)
class Unconverted(NativeObject):
    """An object that isn't brought over; it has no statements. It becomes a finding."""

    reason: str = ""
    hint: str = ""


@dataclass
class Objects:
    """Everything read so far.

    Attributes:
        found: objects by their row, in the order in which they are made when nothing else decides.
        alias: rows that belong to another one: a table's row type, a default, an owned index …
        needs: dependencies that the readers know and pg_depend does not say in the right direction.
        on_demand: objects made only when another one needs them.
        left_behind: `(object, needed)`: dependencies that don't count here.
        with_owner: `(object, owner)`: made when the owner is.
    """

    found: dict[Key, NativeObject] = field(default_factory=dict)
    alias: dict[Key, Key] = field(default_factory=dict)
    needs: list[tuple[Key, Key]] = field(default_factory=list)
    on_demand: set[Key] = field(default_factory=set)
    with_owner: list[tuple[Key, Key]] = field(default_factory=list)
    left_behind: set[tuple[Key, Key]] = field(default_factory=set)

    def add(self, key: Key, thing: NativeObject, *needs: Key, on_demand: bool = False) -> None:
        """Take an object in."""
        self.found[key] = thing
        self.needs += [(key, needed) for needed in needs]
        if on_demand:
            self.on_demand.add(key)

    def resolve(self, key: Key) -> Key:
        """The row that stands for this one."""
        seen = {key}
        while key in self.alias and self.alias[key] not in seen:
            key = self.alias[key]
            seen.add(key)
        return key


@dataclass(frozen=True)
class Selection:
    """What is asked for: tables and schemas by OID, and views in them that are not."""

    relations: frozenset[int]
    schemas: frozenset[int]
    unwanted_views: frozenset[int] = frozenset()
