"""Runs alembic on the connection that holds the advisory lock, with all versions in one transaction."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table="schema_version",
    version_table_schema="hapacs",
)
with context.begin_transaction():
    context.run_migrations()
