"""Copies at the second site: which past images are planned, and when the image of a task was stored."""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

# An earlier migration may have ended the transaction, so each statement can be repeated.
_STATEMENTS = (
    "alter table hapacs.task add column if not exists stored_at timestamptz",
    """
    create table if not exists hapacs.replication (
        destination text primary key,
        since timestamptz not null default clock_timestamp(),
        past_at timestamptz,
        past_uuid uuid,
        past_ended boolean not null default false,
        check ((past_at is null) = (past_uuid is null))
    )
    """,
    "comment on table hapacs.replication is 'Since when images are copied to the second site, and which past ones'",
    "comment on column hapacs.replication.past_at is 'Images of before are not planned yet; null: none is planned'",
    "comment on column hapacs.task.stored_at is 'When the image was stored, for copies at the second site'",
)

# Of the first one the next tasks are taken, by the second one the oldest image that is not confirmed is found at once.
_INDEXES = {
    "task_newest": (
        "(destination, priority, stored_at desc) where kind = 'replicate' and state = 'waiting'"
    ),
    "task_unreplicated": (
        "(destination, priority, stored_at) where kind = 'replicate' "
        "and state in ('gathering', 'waiting', 'held', 'in flight', 'dead')"
    ),
}  # fmt: skip


def upgrade() -> None:
    """Create table, column and indexes; it can be repeated after an interruption."""
    for statement in _STATEMENTS:
        op.execute(statement)
    # An index that is made concurrently blocks no store. One that an interruption left behind is not valid.
    with op.get_context().autocommit_block():
        for name, of in _INDEXES.items():
            op.execute(f"drop index concurrently if exists hapacs.{name}")
            op.execute(f"create index concurrently {name} on hapacs.task {of}")
