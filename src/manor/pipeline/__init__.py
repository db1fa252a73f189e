"""A graph of detached, content-keyed steps that turns a commit into an artifact."""
