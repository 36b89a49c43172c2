"""A fence in a database: the newest tokens in a table beside the data, changed in the transaction of the write itself.

One statement decides, because a read followed by a write would leave the gap that a fence is there to close::

    INSERT INTO slurp_fence (resource, token, writes) VALUES (?, ?, 1)
    ON CONFLICT (resource) DO UPDATE SET token = excluded.token, writes = slurp_fence.writes + 1
    WHERE slurp_fence.token <= excluded.token

One row changed: let through, and the row is locked for everybody else until the transaction ends. No row changed:
stale. `writes` is counted so that a row that was let through always changes: some databases (MySQL) do not count a row
that was set to what it held, and an equal token would look stale.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Protocol

from slurp_leader.errors import ConfigurationError
from slurp_leader.fencing.gate import check_resource, check_token, stale

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?")
_PLACEHOLDERS: dict[str, Callable[[int, str], str]] = {
    "qmark": lambda number, name: "?",
    "numeric": lambda number, name: f":{number}",
    "named": lambda number, name: f":{name}",
    "format": lambda number, name: "%s",
    "pyformat": lambda number, name: f"%({name})s",
}


class Cursor(Protocol):
    """What is used of a DB-API 2.0 cursor."""

    @property
    def rowcount(self) -> int:
        """Rows that the last statement changed."""
        ...

    def execute(self, operation: str, parameters: Any, /) -> Any:
        """Run one statement."""
        ...

    def fetchone(self) -> Any:
        """The next row, or None."""
        ...

    def close(self) -> Any:
        """Give it back."""
        ...


class Connection(Protocol):
    """What is used of a DB-API 2.0 connection."""

    def cursor(self) -> Any:
        """A new `Cursor`."""
        ...


class Statement(StrEnum):
    """How the one statement is written."""

    UPSERT = "upsert"
    """``INSERT ... ON CONFLICT ... DO UPDATE``: PostgreSQL 9.5, SQLite 3.24, CockroachDB."""
    UPDATE = "update"
    """``UPDATE ... WHERE token <= ?``: every SQL database. Each resource needs `SqlFence.register` once."""


class SqlFence:
    """A `FenceGate` in a database, over one connection. It never commits or rolls back: the transaction is yours.

    ::

        with connection:                                   # one transaction
            SqlFence(connection).admit(term.token, "ledger")
            connection.execute("UPDATE ledger SET ...")    # lands with the token, or not at all

    Admit first, then read what the write rests on, then write. As safe as the isolation of the database: READ
    COMMITTED is enough, since the row is locked from `admit` on. In autocommit mode `admit` is a transaction of its
    own, and a newer leader may write between it and what follows.

    As thread-safe as the connection. Making one is cheap: make one for each connection, or for each transaction.

    Args:
        connection: Any DB-API 2.0 connection.
        table: Where tokens are kept; may be qualified with a schema.
        paramstyle: Of the driver; None: as its module says.
        statement: How the deciding statement is written; see `Statement`.

    Raises:
        ConfigurationError: The name of the table or the parameter style is wrong, or the latter cannot be found out.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        table: str = "slurp_fence",
        paramstyle: str | None = None,
        statement: Statement | str = Statement.UPSERT,
    ) -> None:
        if not _IDENTIFIER.fullmatch(table):
            raise ConfigurationError(f"table = {table!r}: letters, digits and '_', as in schema.table", field="table")
        self._connection = connection
        self._table = table
        self._style = _known_style(paramstyle or _paramstyle_of(connection))
        try:
            self._statement = Statement(statement)
        except ValueError:
            raise ConfigurationError(f"statement = {statement!r}: 'upsert' or 'update'", field="statement") from None

    def create_table(self) -> None:
        """Make the table if it is not there. Some databases commit the transaction under way when they do that.

        Raises:
            What the driver raises, such as for missing rights.
        """
        self._change(
            f"CREATE TABLE IF NOT EXISTS {self._table} (resource VARCHAR(255) NOT NULL PRIMARY KEY, "
            "token BIGINT NOT NULL, writes BIGINT NOT NULL)",
            {},
        )

    def register(self, resource: str) -> None:
        """Make the row of a resource that has none yet, so that `Statement.UPDATE` finds it. Safe twice.

        Raises:
            ValueError: Not the name of a resource.
            The driver's IntegrityError: Another connection made it at the same moment. Nothing was changed; go on.
        """
        self._change(
            f"INSERT INTO {self._table} (resource, token, writes) SELECT {{resource}}, 0, 0 "
            f"WHERE NOT EXISTS (SELECT 1 FROM {self._table} WHERE resource = {{again}})",
            {"resource": check_resource(resource), "again": resource},
        )

    def admit(self, token: int, resource: str) -> None:
        """Let a token through, and keep it if it is the newest, in the transaction under way.

        Raises:
            StaleTokenError: A newer one was seen. Nothing was changed; roll back what the transaction did before.
            ValueError: Not a token, or not the name of a resource.
            ConfigurationError: The driver does not say how many rows were changed, or there is no row to be updated.
            What the driver raises: Nothing was let through.
        """
        parameters = {"resource": check_resource(resource), "token": check_token(token)}
        changed = self._change(self._deciding_statement(), parameters)
        if changed < 0:
            raise ConfigurationError("this driver does not say how many rows a statement changed: it cannot be fenced")
        if changed:
            return
        newest = self.newest(resource)
        if newest is None and self._statement is Statement.UPDATE:
            raise ConfigurationError(f"{resource!r} has no row in {self._table}: register() it once", field="resource")
        # Read for the message only. An older snapshot may show less than what refused the token.
        raise stale(token, newest if newest is not None and newest > token else 0, resource)

    def newest(self, resource: str) -> int | None:
        """The newest token seen for a resource, as the transaction under way sees it; None: none."""
        cursor = self._connection.cursor()
        try:
            statement = f"SELECT token FROM {self._table} WHERE resource = {{resource}}"
            cursor.execute(*self._bound(statement, {"resource": check_resource(resource)}))
            row = cursor.fetchone()
        finally:
            cursor.close()
        token = _only_value(row) if row else None
        return int(token) if token else None

    def _deciding_statement(self) -> str:
        table = self._table
        if self._statement is Statement.UPDATE:
            return (
                f"UPDATE {table} SET token = {{token}}, writes = writes + 1 "
                f"WHERE resource = {{resource}} AND token <= {{token}}"
            )
        # Inside the statement a table of another schema goes by its own name.
        own = table.rpartition(".")[2]
        return (
            f"INSERT INTO {table} (resource, token, writes) VALUES ({{resource}}, {{token}}, 1) "
            f"ON CONFLICT (resource) DO UPDATE SET token = excluded.token, writes = {own}.writes + 1 "
            f"WHERE {own}.token <= excluded.token"
        )

    def _change(self, statement: str, parameters: dict[str, Any]) -> int:
        cursor = self._connection.cursor()
        try:
            cursor.execute(*self._bound(statement, parameters))
            return int(cursor.rowcount)
        finally:
            cursor.close()

    def _bound(self, statement: str, parameters: dict[str, Any]) -> tuple[str, Any]:
        """The statement with the driver's placeholders in place of ``{name}``, and its parameters to match."""
        placeholder = _PLACEHOLDERS[self._style]
        order: list[str] = []

        def place(match: re.Match[str]) -> str:
            order.append(match[1])
            return placeholder(len(order), match[1])

        text = re.sub(r"\{(\w+)\}", place, statement)
        if self._style in ("named", "pyformat"):
            return text, parameters
        return text, tuple(parameters[name] for name in order)


def _only_value(row: Any) -> Any:
    """What is in a row of one column. Connections may be set to give rows as dicts, and databases to shout names."""
    return next(iter(row.values())) if isinstance(row, Mapping) else row[0]


def _known_style(style: str) -> str:
    if style not in _PLACEHOLDERS:
        raise ConfigurationError(f"paramstyle = {style!r}: one of {', '.join(_PLACEHOLDERS)}", field="paramstyle")
    return style


def _paramstyle_of(connection: Connection) -> str:
    """What the driver's module says, which is the module of the connection or a package around it."""
    for kind in type(connection).__mro__:
        name = kind.__module__
        while name:
            style = getattr(sys.modules.get(name), "paramstyle", None)
            if isinstance(style, str):
                return style
            name = name.rpartition(".")[0]
    raise ConfigurationError(
        f"{type(connection).__qualname__} does not say its paramstyle; give it, such as paramstyle='qmark'",
        field="paramstyle",
    )
