"""An open migration: its endpoints, its resolved mappings, and whom to tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from godwit.errors import StoppedError
from godwit.migrator import mappings
from godwit.migrator.doubted import with_empty_labels
from godwit.migrator.endpoints import Endpoints
from godwit.migrator.outcome import plain
from godwit.migrator.refusals import refuse
from godwit.model.definition import resolve

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from godwit.model.catalog import Catalog, TableName
    from godwit.model.definition import Definition
    from godwit.model.endpoint import Connection, ConnectionSource
    from godwit.model.mapping import TableMapping
    from godwit.model.report import Finding
    from godwit.protocols import Control, Reporter, Source, Target

#: Keys of the control tables' memory: steps that have ended well.
DONE = "done:"


class OpenMigration:
    """What every method of the migrator works with."""

    def __init__(
        self,
        definition: Definition,
        connections: ConnectionSource,
        reporter: Reporter,
        *,
        stop: Callable[[], bool] = lambda: False,
        switch_connection: Callable[[str, Connection], None] | None = None,
    ) -> None:
        self.definition = definition
        self.reporter = reporter
        #: A newer run has taken this one's place.
        self.overtaken = False
        self.endpoints = Endpoints(definition, connections)
        self.switch_connection = switch_connection
        self._stop = stop
        self._mappings: tuple[TableMapping, ...] | None = None
        self._catalogs: dict[bool, Catalog] = {}
        #: Tables and views that the source has, selected or not; known with the catalog.
        self.names: set[TableName] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        self.endpoints.close()

    @property
    def name(self) -> str:
        """The migration's name."""
        return self.definition.name

    @property
    def source(self) -> Source:
        """The source endpoint."""
        return self.endpoints.source

    @property
    def target(self) -> Target:
        """The target endpoint."""
        return self.endpoints.target

    @property
    def control(self) -> Control:
        """The control tables."""
        return self.endpoints.control

    @property
    def loads(self) -> bool:
        """The migration loads rows."""
        return self.definition.migration_type.loads

    @property
    def windowed(self) -> bool:
        """Each run loads a window of the rows; there is no plan and no end."""
        return self.definition.load_window is not None

    @property
    def captures(self) -> bool:
        """The migration follows the source's log."""
        return self.definition.migration_type.captures

    # -- mappings

    @property
    def mappings(self) -> tuple[TableMapping, ...]:
        """The resolved table mappings, the same for every task of the migration.

        Raises:
            DefinitionError: they were changed while the migration is under way.
            EndpointError: they cannot be used as they are.
        """
        if self._mappings is None:
            stored = mappings.kept(self.control, self.definition)
            if stored is not None and stored[1]:
                self._mappings = stored[0]
            else:
                refuse(self.name, self.resolve())
        return self._mappings or ()

    def known_mappings(self) -> tuple[TableMapping, ...]:
        """The mappings stored by an earlier step; none when nothing has begun."""
        stored = mappings.kept(self.control, self.definition)
        return stored[0] if stored is not None else ()

    def resolve(self) -> list[Finding]:
        """Resolve the mappings and store them, or hold on to those the migration began with.

        Raises:
            DefinitionError: they were changed while the migration is under way.
        """
        catalog = self.catalog(objects=False)
        resolution = resolve(self.definition, catalog, self.names)
        fitted, names = self.target.fit(catalog, resolution.mappings)
        findings = [*resolution.findings, *names]
        self.control.install()
        stored = mappings.kept(self.control, self.definition) if self.begun() else None
        if stored is None:
            self._mappings, labels = with_empty_labels(self.source, self.target, catalog, fitted)
            findings += labels
        else:
            before, same = stored
            findings += mappings.compare(before, fitted, same_definition=same)
            self._mappings = before
        if stored is None or not stored[1]:
            mappings.keep(self.control, self.definition, self._mappings)
        return findings

    def replace_mapping(self, mapping: TableMapping) -> None:
        """Store another mapping of one of the tables, or one of a new table."""
        known = {m.source.name: m for m in self.mappings}
        self._mappings = tuple({**known, mapping.source.name: mapping}.values())
        self._catalogs.clear()
        mappings.keep(self.control, self.definition, self._mappings)

    def forget_mappings(self) -> None:
        """Resolve anew when they are next needed."""
        self._mappings = None
        self._catalogs.clear()

    def catalog(self, *, objects: bool) -> Catalog:
        """The source's catalog, read once."""
        if objects not in self._catalogs:
            self._catalogs[objects] = self.source.catalog(self._selects, objects=objects)
        return self._catalogs[objects]

    def _selects(self, name: TableName) -> bool:
        self.names.add(name)
        return self.definition.selects(name)

    # -- progress

    def begun(self) -> bool:
        """Something of the migration is on the target or will come out of the capture."""
        return self.control.progress().low is not None or self.control.plan() is not None

    def done(self, step: str) -> bool:
        """The step has ended well before, in whichever process."""
        return bool(self.control.recall(DONE + step))

    def note_done(self, step: str) -> None:
        """The step has ended well."""
        self.control.remember(DONE + step, value=True)

    # -- telling and stopping

    def tell(self, kind: str, thing: Any) -> None:
        """Tell the reporter, in plain data."""
        self.reporter.event(kind, plain(thing))

    def phase(self, name: str) -> None:
        """A method begins."""
        self.check_stop()
        self.reporter.event("phase", {"name": name})

    def asked_to_stop(self) -> bool:
        """Somebody asked, or a newer run has begun."""
        return self.overtaken or self._stop()

    def check_stop(self) -> None:
        """Stop here when asked to.

        Raises:
            StoppedError: asked to stop.
        """
        if self.asked_to_stop():
            raise StoppedError("asked to stop", where=self.name, hint="run it again to go on")
