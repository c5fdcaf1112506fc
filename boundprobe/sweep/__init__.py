"""Many jobs in worker processes."""
