"""Facts, probes and counters become one typed observation; decides nothing."""
