"""Floor 10: from wire to values and back, one package for each protocol; nothing here decides."""
