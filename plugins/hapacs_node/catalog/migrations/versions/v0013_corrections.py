"""Corrections of studies: hidden, deleted, or moved to another patient; who, why and until when."""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

# An earlier migration may have ended the transaction, so each statement can be repeated.
_STATEMENTS = (
    """
    create table if not exists hapacs.correction (
        id bigint generated always as identity primary key,
        kind text not null check (kind in ('move', 'hide', 'delete')),
        study text not null,
        series text not null default '',
        patient jsonb,
        found jsonb,
        patient_id text,
        who text not null,
        why text not null,
        made_at timestamptz not null default clock_timestamp(),
        ended_at timestamptz,
        ended_by text,
        ended_why text
    )
    """,
    # Every search and retrieval looks here: only what is in force, which is little.
    """
    create unique index if not exists correction_in_force on hapacs.correction (study, kind, series)
    where ended_at is null and kind <> 'delete'
    """,
    "create index if not exists correction_study on hapacs.correction (study)",
    "comment on table hapacs.correction is 'What clients get of a study in place of what was received'",
    "comment on column hapacs.correction.series is 'Empty for the whole study'",
    "comment on column hapacs.correction.patient is 'Attributes of the patient of a move, in the DICOM JSON model'",
    "comment on column hapacs.correction.found is 'The same as they are compared with keys'",
    "comment on column hapacs.correction.ended_at is 'Since when it is undone; null: in force'",
)


def upgrade() -> None:
    """Create the table; it can be repeated after an interruption."""
    for statement in _STATEMENTS:
        op.execute(statement)
