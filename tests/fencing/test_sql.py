"""The fence in a database: sqlite for what happens, a driver made of paper for the forms of other drivers."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from slurp_leader import FenceGate, SqlFence, StaleTokenError
from slurp_leader.errors import ConfigurationError
from slurp_leader.fencing.sql import Statement


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database with the table of the fence and an account in it."""
    path = tmp_path / "bank.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        SqlFence(connection).create_table()
        connection.execute("CREATE TABLE account (name TEXT PRIMARY KEY, balance INTEGER)")
        connection.execute("INSERT INTO account VALUES ('a', 100)")
    return path


@pytest.fixture
def connection(database: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(database)) as connection:
        yield connection


@pytest.fixture(params=list(Statement))
def fence(request: pytest.FixtureRequest, connection: sqlite3.Connection) -> SqlFence:
    fence = SqlFence(connection, statement=request.param)
    for resource in ("ledger", "job-1", "job-2"):
        if request.param is Statement.UPDATE:
            fence.register(resource)
    return fence


def test_an_older_token_is_refused_and_the_error_says_all(fence: FenceGate) -> None:
    fence.admit(9, "ledger")
    with pytest.raises(StaleTokenError) as caught:
        fence.admit(7, "ledger")
    assert (caught.value.token, caught.value.newest, caught.value.resource) == (7, 9, "ledger")


def _as_dict(cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> dict[str, Any]:
    return {column[0].upper(): value for column, value in zip(cursor.description, row, strict=True)}


@pytest.mark.parametrize("rows", [sqlite3.Row, _as_dict])
def test_rows_of_any_form_are_read(fence: SqlFence, connection: sqlite3.Connection, rows: Any) -> None:
    connection.row_factory = rows
    assert fence.newest("ledger") is None
    fence.admit(9, "ledger")
    assert fence.newest("ledger") == 9
    with pytest.raises(StaleTokenError) as caught:
        fence.admit(7, "ledger")
    assert caught.value.newest == 9


def test_equal_and_newer_tokens_pass(fence: SqlFence) -> None:
    for token in (7, 7, 9, 9, 2**63 - 1):
        fence.admit(token, "ledger")
    assert fence.newest("ledger") == 2**63 - 1


def test_tokens_are_kept_for_each_resource_apart(fence: SqlFence) -> None:
    fence.admit(9, "job-2")
    fence.admit(7, "job-1")
    assert (fence.newest("job-1"), fence.newest("job-2")) == (7, 9)


def test_what_was_rolled_back_was_not_seen(fence: SqlFence, connection: sqlite3.Connection) -> None:
    fence.admit(7, "ledger")
    connection.commit()
    fence.admit(9, "ledger")
    connection.rollback()
    fence.admit(8, "ledger")


def transfer(connection: sqlite3.Connection, token: int, balance: int) -> None:
    """What a leader does: the fence and its own write in one transaction."""
    with connection:
        connection.execute("UPDATE account SET balance = ? WHERE name = 'a'", (balance,))
        SqlFence(connection).admit(token, "account a")


def test_a_stale_leader_that_read_before_is_refused_and_nothing_of_it_lands(database: Path) -> None:
    with closing(sqlite3.connect(database)) as old, closing(sqlite3.connect(database)) as new:
        transfer(old, 7, 100)
        (read,) = old.execute("SELECT balance FROM account WHERE name = 'a'").fetchone()  # and is stopped here
        transfer(new, 9, 60)
        with pytest.raises(StaleTokenError) as caught:
            transfer(old, 7, read - 10)  # wakes up, and writes by what it had read
        assert caught.value.newest == 9
        assert new.execute("SELECT balance FROM account").fetchone() == (60,)
        assert old.execute("SELECT balance FROM account").fetchone() == (60,)


def test_no_newer_leader_comes_between_the_fence_and_the_write(database: Path) -> None:
    with closing(sqlite3.connect(database)) as old, closing(sqlite3.connect(database, timeout=0)) as new:
        SqlFence(old).admit(7, "account a")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            SqlFence(new).admit(9, "account a")
        old.execute("UPDATE account SET balance = 90")
        old.commit()
        SqlFence(new).admit(9, "account a")


def test_the_fence_neither_begins_nor_ends_a_transaction_of_its_own(connection: sqlite3.Connection) -> None:
    SqlFence(connection).admit(7, "ledger")
    assert connection.in_transaction


def test_the_table_is_made_once_and_kept(connection: sqlite3.Connection) -> None:
    fence = SqlFence(connection, table="main.fences")
    fence.create_table()
    fence.admit(9, "ledger")
    fence.create_table()
    assert fence.newest("ledger") == 9


def test_registering_again_keeps_the_token(connection: sqlite3.Connection) -> None:
    fence = SqlFence(connection, statement="update")
    fence.register("ledger")
    assert fence.newest("ledger") is None
    fence.admit(9, "ledger")
    fence.register("ledger")
    assert fence.newest("ledger") == 9


def test_an_update_of_a_resource_without_a_row_says_what_to_do(connection: sqlite3.Connection) -> None:
    with pytest.raises(ConfigurationError, match=r"register\(\) it once"):
        SqlFence(connection, statement="update").admit(9, "ledger")


@pytest.mark.parametrize("table", ["", "a b", "fence;", "a.b.c", "1a", 'x"'])
def test_a_table_that_could_be_more_than_a_name_is_refused(connection: sqlite3.Connection, table: str) -> None:
    with pytest.raises(ConfigurationError, match="table"):
        SqlFence(connection, table=table)


def test_a_resource_is_never_read_as_sql(fence: SqlFence, connection: sqlite3.Connection) -> None:
    if fence.newest("x") is None:
        SqlFence(connection).admit(9, "'; DROP TABLE account; --{token}%s")
    assert connection.execute("SELECT count(*) FROM account").fetchone() == (1,)
    assert fence.newest("'; DROP TABLE account; --{token}%s") == 9


# ---------------------------------------------------------------- other drivers


class Paper:
    """A driver that only writes down what it is told."""

    def __init__(self, rowcount: int = 1) -> None:
        self.rowcount = rowcount
        self.told: list[tuple[str, Any]] = []

    def cursor(self) -> Paper:
        return self

    def execute(self, operation: str, parameters: Any, /) -> None:
        self.told.append((operation, parameters))

    def fetchone(self) -> None:
        return None

    def close(self) -> None:
        return


@pytest.mark.parametrize(
    ("style", "text", "parameters"),
    [
        ("qmark", "VALUES (?, ?, 1)", ("ledger", 9)),
        ("numeric", "VALUES (:1, :2, 1)", ("ledger", 9)),
        ("named", "VALUES (:resource, :token, 1)", {"resource": "ledger", "token": 9}),
        ("format", "VALUES (%s, %s, 1)", ("ledger", 9)),
        ("pyformat", "VALUES (%(resource)s, %(token)s, 1)", {"resource": "ledger", "token": 9}),
    ],
)
def test_parameters_are_written_as_the_driver_wants_them(style: str, text: str, parameters: Any) -> None:
    paper = Paper()
    SqlFence(paper, paramstyle=style).admit(9, "ledger")
    ((statement, given),) = paper.told
    assert text in statement
    assert given == parameters
    assert "{" not in statement


def test_a_parameter_that_stands_twice_is_given_twice() -> None:
    paper = Paper()
    SqlFence(paper, paramstyle="format", statement="update").admit(9, "ledger")
    ((statement, given),) = paper.told
    assert statement.count("%s") == 3
    assert given == (9, "ledger", 9)


def test_named_parameters_work_on_sqlite_too(connection: sqlite3.Connection) -> None:
    fence = SqlFence(connection, paramstyle="named")
    fence.admit(9, "ledger")
    with pytest.raises(StaleTokenError):
        fence.admit(7, "ledger")


def test_the_style_is_found_for_a_connection_of_a_class_of_ones_own(database: Path) -> None:
    class Mine(sqlite3.Connection):
        pass

    with closing(sqlite3.connect(database, factory=Mine)) as connection:
        SqlFence(connection).admit(9, "ledger")


def test_a_style_that_cannot_be_found_or_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="does not say its paramstyle"):
        SqlFence(Paper())
    with pytest.raises(ConfigurationError, match="one of qmark"):
        SqlFence(Paper(), paramstyle="dollar")
    with pytest.raises(ConfigurationError, match="statement"):
        SqlFence(Paper(), paramstyle="qmark", statement="merge")


def test_a_driver_that_does_not_count_rows_lets_nothing_through() -> None:
    with pytest.raises(ConfigurationError, match="how many rows"):
        SqlFence(Paper(rowcount=-1), paramstyle="qmark").admit(9, "ledger")


def test_a_refusal_stands_when_an_older_snapshot_shows_no_newer_token() -> None:
    """Only the count of changed rows decides: MySQL's SELECT may show less than what its UPDATE met."""
    with pytest.raises(StaleTokenError, match="a newer one was seen") as caught:
        SqlFence(Paper(rowcount=0), paramstyle="qmark").admit(9, "ledger")
    assert caught.value.newest == 0


class CountsChanges:
    """sqlite that counts, as MySQL does, only rows that hold something else now."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.rowcount = 0

    def cursor(self) -> CountsChanges:
        return self

    def execute(self, operation: str, parameters: Any, /) -> None:
        before = self._rows()
        self._cursor = self._connection.execute(operation, parameters)
        self.rowcount = len(self._rows() - before)

    def fetchone(self) -> Any:
        return self._cursor.fetchone()

    def close(self) -> None:
        return

    def _rows(self) -> set[Any]:
        return set(self._connection.execute("SELECT * FROM slurp_fence"))


@pytest.mark.parametrize("statement", list(Statement))
def test_an_equal_token_passes_where_a_row_that_was_set_to_what_it_held_is_not_counted(
    connection: sqlite3.Connection, statement: Statement
) -> None:
    fence = SqlFence(CountsChanges(connection), paramstyle="qmark", statement=statement)
    fence.register("ledger")
    for token in (7, 7, 9, 9):
        fence.admit(token, "ledger")
    with pytest.raises(StaleTokenError):
        fence.admit(7, "ledger")
