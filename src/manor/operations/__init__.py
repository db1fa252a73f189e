"""What survives a crash: steps with observe, act and compensate; journal, leases, adoption, resume."""
