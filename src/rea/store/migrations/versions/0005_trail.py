"""Every change of a campaign's rows is on a trail."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005_trail"
down_revision = "0004_large_campaigns"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


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
