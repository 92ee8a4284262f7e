"""Scheduled procedure steps that a RIS sent."""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

# An earlier migration may have ended the transaction, so each statement can be repeated.
_STATEMENTS = (
    """
    create table if not exists hapacs.worklist (
        name uuid primary key,
        document jsonb not null,
        starts date not null,
        expires_at timestamptz not null,
        changed_at timestamptz not null default clock_timestamp(),
        changed_by text not null
    )
    """,
    "create index if not exists worklist_expiry on hapacs.worklist (expires_at)",
    "comment on table hapacs.worklist is 'Scheduled procedure steps that a RIS sent'",
    "comment on column hapacs.worklist.name is 'Made of Study Instance UID and Scheduled Procedure Step ID'",
)


def upgrade() -> None:
    """Create the table; it can be repeated after an interruption."""
    for statement in _STATEMENTS:
        op.execute(statement)
