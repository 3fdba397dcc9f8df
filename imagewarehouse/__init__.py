"""Core of the image warehouse: plain Python, no `nifiapi`, importable anywhere."""

__version__ = "0.1.0"
