"""Indexes by which the tasks of one node are claimed in their order: another node leaves them to it."""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

_INDEXES = {
    "task_of_node": "(kind, destination, priority, node, due_at) where state = 'waiting'",
    "task_newest_of_node": (
        "(destination, priority, node, stored_at desc) where kind = 'replicate' and state = 'waiting'"
    ),
}  # fmt: skip


def upgrade() -> None:
    """Make the indexes; it can be repeated after an interruption."""
    # An index that is made concurrently blocks no store. One that an interruption left behind is not valid.
    with op.get_context().autocommit_block():
        for name, of in _INDEXES.items():
            op.execute(f"drop index concurrently if exists hapacs.{name}")
            op.execute(f"create index concurrently {name} on hapacs.task {of}")
        # An older program, which a node runs until it is upgraded, takes longer without it.
        op.execute("drop index concurrently if exists hapacs.task_newest")
