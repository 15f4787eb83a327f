"""Contexts can be found by how many rows of which clicks they are of, and cells by their context."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003_same_data"
down_revision = "0002_insights"

_NUMBER: sa.types.TypeEngine[float] = sa.Double().with_variant(sa.REAL(), "sqlite")


def upgrade() -> None:
    """The rows are derived from the contexts by the store afterwards."""
    op.create_table(
        "extracts",
        sa.Column("context", sa.Text, sa.ForeignKey("contexts.key"), primary_key=True),
        sa.Column("rows", _NUMBER, nullable=False),
        sa.Column("positive_rate", _NUMBER, nullable=False),
        sqlite_strict=True,
    )
    op.create_index("extracts_by_size", "extracts", ["rows", "positive_rate"])
    op.create_index("cells_of_context", "cells", ["context", "codebase"])
