"""Kudu's clients behind one interface: over Java, and over kudu-python."""
