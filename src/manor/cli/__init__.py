"""One file a verb: arguments in, workflow, print."""
