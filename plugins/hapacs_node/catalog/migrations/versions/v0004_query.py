"""Studies, series and instances as they are searched."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# The migration before this one may have ended the transaction, so each statement can be repeated.
_STATEMENTS = (
    """
    create table if not exists hapacs.study (
        uid text primary key,
        patient_id text not null,
        accession text not null,
        date text not null,
        time text not null,
        shown jsonb not null,
        found jsonb not null
    )
    """,
    "create index if not exists study_newest on hapacs.study (date desc, time desc, uid)",
    "create index if not exists study_patient_id on hapacs.study (patient_id text_pattern_ops)",
    "create index if not exists study_accession on hapacs.study (accession text_pattern_ops)",
    # Apart from the study, because a search inside of names reads the whole table, which is small.
    "create table if not exists hapacs.study_name (study text, name text, primary key (study, name))",
    "create index if not exists study_name_name on hapacs.study_name (name text_pattern_ops)",
    """
    create table if not exists hapacs.series (
        study text,
        uid text,
        modality text not null,
        shown jsonb not null,
        found jsonb not null,
        primary key (study, uid)
    )
    """,
    "create index if not exists series_uid on hapacs.series (uid)",
    """
    create table if not exists hapacs.instance (
        uuid uuid primary key,
        study text not null,
        series text not null,
        sop text not null,
        sop_class text not null,
        number int,
        described_as text not null,
        shown jsonb not null,
        found jsonb not null
    )
    """,
    "create index if not exists instance_place on hapacs.instance (study, series, sop_class)",
    "create index if not exists instance_sop on hapacs.instance (sop)",
    "create index if not exists instance_described_as on hapacs.instance (described_as, uuid)",
    "comment on table hapacs.study is 'Attributes of studies: as shown in answers, and as compared with keys'",
    "comment on table hapacs.study_name is 'Forms of the patient names, without case and accents'",
    "comment on column hapacs.instance.uuid is 'Attachment of the DICOM file; its row goes when it is tombstoned'",
    "comment on column hapacs.instance.described_as is 'How it was read: version and character set, or index'",
)


def upgrade() -> None:
    """Create the tables; `hapacs-node migrate` fills them afterwards."""
    for statement in _STATEMENTS:
        op.execute(statement)
