"""All bounds of one task in one object, and the catalogue of theorems behind them."""
