"""What several tests share: a tiny ranking codebase, its engineer's desk, and a world without processes."""
