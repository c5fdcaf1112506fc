"""The command line: one file per verb; the only part that prints."""
