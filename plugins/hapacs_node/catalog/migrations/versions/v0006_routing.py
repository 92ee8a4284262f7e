"""What operators did with tasks; studies and series whose images wait until it is complete."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# An earlier migration may have ended the transaction, so each statement can be repeated.
_STATEMENTS = (
    """
    create table if not exists hapacs.intervention (
        id bigint generated always as identity primary key,
        at timestamptz not null default clock_timestamp(),
        action text not null,
        kind text not null,
        destination text,
        study text,
        tasks bigint not null,
        operator text not null,
        reason text not null
    )
    """,
    "comment on table hapacs.intervention is 'What operators did with tasks, and why'",
    """
    create table if not exists hapacs.gathering (
        level text not null check (level in ('study', 'series')),
        uid text not null,
        study text not null,
        revision integer not null,
        images bigint not null,
        open boolean not null,
        due_at timestamptz not null,
        primary key (level, uid)
    )
    """,
    "create index if not exists gathering_due on hapacs.gathering (due_at) where open",
    """
    create table if not exists hapacs.completion (
        level text not null,
        uid text not null,
        study text not null,
        revision integer not null,
        images bigint not null,
        completed_at timestamptz not null default clock_timestamp(),
        reason text not null,
        node text not null,
        primary key (level, uid, revision)
    )
    """,
    "create index if not exists completion_study on hapacs.completion (study)",
    "alter table hapacs.task add column if not exists gathers text check (gathers in ('study', 'series'))",
    "alter table hapacs.task add column if not exists revision integer",
    "alter table hapacs.task drop constraint if exists task_state_check",
    # Not validated: that would read the whole table under a lock. The values of before are among those of now.
    """
    alter table hapacs.task add constraint task_state_check
        check (state in ('gathering', 'waiting', 'held', 'in flight', 'confirmed', 'dead', 'dropped')) not valid
    """,
    "comment on table hapacs.gathering is 'Studies and series of which images wait until it is complete'",
    "comment on table hapacs.completion is 'When a study or series was complete, why, and by whose decision'",
    "comment on column hapacs.task.gathers is 'What has to be complete before the image is sent; null: nothing'",
    "comment on column hapacs.task.revision is 'Revision of the study or series with which the image was released'",
)


def upgrade() -> None:
    """Create the tables, the columns and an index."""
    for statement in _STATEMENTS:
        op.execute(statement)
    # An index that is made concurrently blocks no store. One that an interruption left behind is not valid.
    with op.get_context().autocommit_block():
        op.execute("drop index concurrently if exists hapacs.task_gathering")
        op.execute(
            "create index concurrently task_gathering on hapacs.task (kind, destination, study) "
            "where state = 'gathering'"
        )
