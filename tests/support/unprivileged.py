"""Commands as a user whom permissions keep out, also where the tests run as root."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from typing import Final

WITHOUT: Final = ("setpriv", "--bounding-set", "-all", "--inh-caps", "-all")
POSSIBLE: Final = os.geteuid() != 0 or shutil.which(WITHOUT[0]) is not None
WHY: Final = "runs as root, and no setpriv is on PATH to do without its privileges"


def kept_out(words: Sequence[str]) -> list[str]:
    """The command line that runs `words` without the right to read what its permissions forbid."""
    return [*WITHOUT, *words] if os.geteuid() == 0 else [*words]
