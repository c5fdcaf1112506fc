"""What ``count.py`` and ``premises.py`` count, by kind."""
