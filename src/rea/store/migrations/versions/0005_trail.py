"""Every change of a campaign's rows is on a trail; questions to engineers; what became of remedies."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005_trail"
down_revision = "0004_large_campaigns"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_NUMBER: sa.types.TypeEngine[float] = sa.Double().with_variant(sa.REAL(), "sqlite")


def upgrade() -> None:
    """The trails of campaigns that are there already are begun by the store afterwards."""
    op.create_table(
        "trail",
        sa.Column("campaign", _ID, sa.ForeignKey("campaigns.id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("row", sa.Text, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("link", sa.Text, nullable=False),
        sqlite_strict=True,
    )
    op.create_table(
        "heads",
        sa.Column("campaign", _ID, sa.ForeignKey("campaigns.id"), primary_key=True, autoincrement=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("link", sa.Text, nullable=False),
        sqlite_strict=True,
    )
    op.create_index("trail_of_row", "trail", ["campaign", "row", "number"])
    op.add_column("runs", sa.Column("adjust", sa.Text))
    op.create_table(
        "questions",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("campaign", _ID, sa.ForeignKey("campaigns.id"), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("options", sa.Text, nullable=False),
        sa.Column("at", _NUMBER, nullable=False),
        sa.Column("answer", sa.Text),
        sa.Column("by", sa.Text),
        sa.Column("answered_at", _NUMBER),
        sa.UniqueConstraint("campaign", "kind", "subject", name="questions_once"),
        sa.CheckConstraint("(answer IS NULL) = (answered_at IS NULL)", name="questions_answered_whole"),
        sqlite_strict=True,
    )
    op.create_table(
        "lessons",
        sa.Column("pattern", sa.Text, primary_key=True),
        sa.Column("cause", sa.Text, primary_key=True),
        sa.Column("seen", sa.Integer, nullable=False),
        sa.Column("at", _NUMBER, nullable=False),
        sqlite_strict=True,
    )
    op.create_table(
        "remedies",
        sa.Column("runbook", sa.Text, primary_key=True),
        sa.Column("remedy", sa.Text, primary_key=True),
        sa.Column("tried", sa.Integer, nullable=False),
        sa.Column("worked", sa.Integer, nullable=False),
        sa.CheckConstraint("worked >= 0 AND worked <= tried", name="remedies_worked_share"),
        sqlite_strict=True,
    )
