"""The version, where every room can read it without loading any other."""

__version__ = "0.1.0"
