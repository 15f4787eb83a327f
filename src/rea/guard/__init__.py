"""What stands between a plan and the budget: signatures, the preflight checklist, and which files may change."""
