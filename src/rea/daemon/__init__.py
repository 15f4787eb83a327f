"""A tiny watcher that starts `rea wake`. Standard library only; it holds no state."""
