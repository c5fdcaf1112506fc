"""Decoders: from states to scores of every answer at once, frozen once they are fitted."""
