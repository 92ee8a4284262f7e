"""Whether a destination is asked for an image before it is sent."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column. A constant default changes no row; it can be repeated after an interruption."""
    op.execute("alter table hapacs.task add column if not exists only_if_absent boolean not null default false")
    op.execute(
        "comment on column hapacs.task.only_if_absent is "
        "'Whether the destination is asked before it is sent, and gets it only if it does not list it'"
    )
