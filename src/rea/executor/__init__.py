"""Runs a campaign: each wake observes, decides, acts and exits."""
