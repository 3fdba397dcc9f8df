"""Where images, rows and documents go; the only modules that reach a disk or a network."""
