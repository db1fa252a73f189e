"""Products that keep a host's programs running."""
