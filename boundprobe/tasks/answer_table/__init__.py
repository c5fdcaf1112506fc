"""What the table of answers (prefix by query) says by itself: its rows, and two inputs that a window confuses."""
