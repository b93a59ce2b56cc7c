"""A backup restored for a trial: what comes back is checked, and then thrown away."""
