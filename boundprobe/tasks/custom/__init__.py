"""A user's own task: found, read, checked, and made into a task that everything else works with."""
