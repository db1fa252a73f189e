"""The one store: operations, steps, leases, releases, runs, refs, audit."""
