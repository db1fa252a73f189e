"""One file a verb; each reads like a runbook."""
