"""REA, the Ranking Engineer Agent."""

__version__ = "0.1.0"
