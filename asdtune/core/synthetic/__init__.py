"""Synthetic talking faces, for the demo and for tests."""
