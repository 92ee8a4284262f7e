"""The catalog's own schema: made and changed by migrations, once per site."""

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
    """Name the newest version that this program knows."""
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
    """Tell whether this program has the migration of that version."""
    return any(script.revision == version for script in _scripts().walk_revisions())


def migrate(database: Database) -> tuple[str | None, str]:
    """Bring the schema to the newest version; safe to run on several nodes at once and again.

    Returns
    -------
    tuple
        The version before (None for an empty database) and after.

    Raises
    ------
    SchemaError
        When the database is newer than this program, or another migration does not end.
    """
    return database.run(_migrate, deadline_s=600)


def index_attachments(database: Database) -> None:
    """Make an index of ours on Orthanc's `attachedfiles`, unless it is there: from an attachment to what it belongs to.

    Orthanc itself only ever goes the other way. Without it each such question reads the whole table.

    Raises
    ------
    SchemaError
        When Orthanc has not made its tables yet.
    """
    database.run(_index_attachments, deadline_s=600)


def _index_attachments(connection: Connection) -> None:
    # Asked first: `create index` locks the table against stores before it looks whether there is anything to do.
    found = connection.execute("select to_regclass('hapacs_attachedfiles_uuid') is not null").fetchone()
    if found is not None and found[0]:
        return
    connection.deadline = time.monotonic() + 600
    connection.execute("set statement_timeout = 0")
    connection.execute("create index if not exists hapacs_attachedfiles_uuid on attachedfiles (uuid)")
    connection.execute("reset statement_timeout")


def _migrate(connection: Connection) -> tuple[str | None, str]:
    # Migrations may rebuild an index: they take longer than a statement of the hot path.
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
            raise SchemaError(f"another migration has been running for {_LOCK_WAIT_S} s: look at it, then try again")
        time.sleep(0.5)


def _directory() -> Path:
    return Path(__file__).parent / "migrations"


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(_directory()))
