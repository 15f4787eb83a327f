"""What REA knows of ranking models: roles, techniques, runbooks."""
