"""The wrapper that runs beside the training process: `python -m rea.job SPEC.json`. Standard library only.

It starts each step in a session of its own, enforces wall time and memory, caps the logs, applies the stop rule,
leaves an atomic record, and wakes the executor. `rundir` is the contract with whoever observes it.
"""
