"""The user's repository: what `rea.toml` says, how a treatment reaches the trainer, git worktrees and patches."""
