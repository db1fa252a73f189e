"""Moving traffic from one release to the next without losing a request, and proving it."""
