"""Plan, check, apply: desired against observed."""
