"""Since when images of the probe are copied to the other site as canaries, and an index of their tasks."""

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

_STATEMENTS = (
    # Null until the rules are loaded again, which `hapacs up` does when no node runs the older program any more.
    "alter table hapacs.replication add column if not exists canary_since timestamptz",
    "comment on column hapacs.replication.canary_since is 'Since when canaries are copied; null: they are not'",
)


def upgrade() -> None:
    """Add column and index; it can be repeated after an interruption."""
    for statement in _STATEMENTS:
        op.execute(statement)
    # An index that is made concurrently blocks no store. One that an interruption left behind is not valid.
    with op.get_context().autocommit_block():
        op.execute("drop index concurrently if exists hapacs.task_canary")
        op.execute(
            "create index concurrently task_canary on hapacs.task (destination, stored_at) "
            "where kind = 'replicate' and rule = 'the canary'"
        )
