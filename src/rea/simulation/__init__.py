"""Whole campaigns in memory: the executor's own decisions over values, a clock that jumps and a trainer that knows
what every treatment truly gains."""
