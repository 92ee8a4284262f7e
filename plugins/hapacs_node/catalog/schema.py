"""The catalog's schema, created and changed by migrations, once per site."""

import time
from pathlib import Path

import alembic.command
import psycopg
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from hapacs_node import log
from hapacs_node.catalog.database import Connection, Database
from hapacs_node.errors import SchemaError

_LOG = log.get("schema")
_LOCK = 0x6861706163730001  # "hapacs", 1
_LOCK_WAIT_S = 120
_VERSION = "select version_num from hapacs.schema_version"


def expected() -> str:
    """Return the newest version that this program has."""
    head = _scripts().get_current_head()
    if head is None:
        raise SchemaError("this installation holds no migrations: install hapacs-node again")
    return head


def current(connection: Connection) -> str | None:
    """Read the database's version; None when nothing was migrated yet."""
    try:
        row = connection.execute(_VERSION).fetchone()
    except psycopg.errors.UndefinedTable:
        return None
    return None if row is None else str(row[0])


def is_known(version: str) -> bool:
    """Return whether this program has the migration of that version."""
    return any(script.revision == version for script in _scripts().walk_revisions())


def migrate(database: Database) -> tuple[str | None, str]:
    """Migrate the schema to the newest version. It can be repeated, and run on several nodes at once.

    Returns
    -------
    tuple
        The version before (None for an empty database) and after.

    Raises
    ------
    SchemaError
        When the database is newer than this program, or another migration does not end in time.
    """
    return database.run(_migrate, deadline_s=600)


def index_attachments(database: Database) -> None:
    """Create our index on Orthanc's table `attachedfiles`, by attachment, unless it exists.

    Orthanc has none. Without it, each query from an attachment to its instance reads the whole table.

    Raises
    ------
    SchemaError
        When Orthanc has not created its tables yet.
    """
    database.run(_index_attachments, deadline_s=600)


def _index_attachments(connection: Connection) -> None:
    # Check first: `create index` blocks stores on the table even when the index exists.
    found = connection.execute("select to_regclass('hapacs_attachedfiles_uuid') is not null").fetchone()
    if found is not None and found[0]:
        return
    connection.deadline = time.monotonic() + 600
    connection.execute("set statement_timeout = 0")
    connection.execute("create index if not exists hapacs_attachedfiles_uuid on attachedfiles (uuid)")
    connection.execute("reset statement_timeout")


def _migrate(connection: Connection) -> tuple[str | None, str]:
    # Migrations may rebuild an index, which takes longer than an ordinary statement.
    connection.deadline = time.monotonic() + 600
    connection.execute("set statement_timeout = 0")
    _lock(connection)
    before = current(connection)
    if before is not None and not is_known(before):
        raise SchemaError(
            f"the database's schema is version {before}, newer than {expected()} of this program: "
            "install the newer hapacs-node on this node"
        )
    # The connection ends with the run, and the lock with the connection.
    engine = create_engine("postgresql+psycopg://", creator=lambda: connection, poolclass=NullPool)
    connection.execute("create schema if not exists hapacs")
    connection.autocommit = False
    config = Config()
    config.set_main_option("script_location", str(_directory()))
    with engine.connect() as wrapped:
        config.attributes["connection"] = wrapped
        alembic.command.upgrade(config, "head")
    after = expected()
    _LOG.info(log.line("schema_migrated", before=before, after=after))
    return before, after


def _lock(connection: Connection) -> None:
    deadline = time.monotonic() + _LOCK_WAIT_S
    while True:
        row = connection.execute("select pg_try_advisory_lock(%(key)s)", {"key": _LOCK}).fetchone()
        if row is not None and row[0]:
            return
        if time.monotonic() > deadline:
            raise SchemaError(f"another migration has been running for {_LOCK_WAIT_S} s: check it, then try again")
        time.sleep(0.5)


def _directory() -> Path:
    return Path(__file__).parent / "migrations"


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(_directory()))
