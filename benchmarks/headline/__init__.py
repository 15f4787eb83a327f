"""Does REA beat the tuner a team would use instead, at equal compute? `python -m benchmarks.headline --help`."""
