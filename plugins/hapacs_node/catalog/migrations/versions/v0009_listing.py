"""When a destination took an image that it has to list before the image counts as confirmed."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column. Without a default it changes no row; it can be repeated after an interruption."""
    op.execute("alter table hapacs.task add column if not exists taken_at timestamptz")
    op.execute(
        "comment on column hapacs.task.taken_at is "
        "'When the destination took an image that it has to list before it is confirmed; null: not taken yet'"
    )
