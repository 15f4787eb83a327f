"""What a hypothesis changes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from rea.domain.codebase import Scalar, same


@dataclass(frozen=True)
class Treatment:
    """Overrides of knobs (by knob name) and/or a code patch (unified diff). Empty means the baseline."""

    overrides: Mapping[str, Scalar] = field(default_factory=dict)
    patch: str | None = None

    @property
    def empty(self) -> bool:
        return not self.overrides and not self.patch

    def key(self) -> str:
        """A canonical text: two treatments with the same key train the same model."""
        return self._key

    @cached_property
    def _key(self) -> str:
        # A decision looks thousands of runs and hypotheses up by it.
        return json.dumps({"overrides": dict(self.overrides), "patch": self.patch}, sort_keys=True)

    def on(self, base: Treatment) -> Treatment:
        """This treatment applied on top of `base`; where both set a knob, this one wins."""
        patches = [patch for patch in (base.patch, self.patch) if patch]
        patch = "\n".join(dict.fromkeys(patches)) or None
        return Treatment({**base.overrides, **self.overrides}, patch)

    def without_defaults(self, values: Mapping[str, Scalar]) -> Treatment:
        """The same treatment minus the overrides that repeat the baseline's own value."""
        kept = {k: v for k, v in self.overrides.items() if k not in values or not same(values[k], v)}
        return Treatment(kept, self.patch)

    def describe(self) -> str:
        parts = [f"{name}={json.dumps(value)}" for name, value in sorted(self.overrides.items())]
        if self.patch:
            parts.append(f"patch ({self.patch.count(chr(10)) + 1} lines)")
        return ", ".join(parts) or "baseline"
