"""Where campaigns are kept: SQLite on one machine, PostgreSQL for several."""

from rea.domain.rows import Rows
from rea.store.address import data_home
from rea.store.errors import StoreError
from rea.store.repository import Store, open_store
from rea.store.values import Grant

__all__ = ["Grant", "Rows", "Store", "StoreError", "data_home", "open_store"]
