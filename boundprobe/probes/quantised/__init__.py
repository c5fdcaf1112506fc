"""The state rounded to b bits an entry: machines that are really run, and what their codes can carry."""
