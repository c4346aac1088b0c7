"""Talking faces that are drawn: for the demo and for tests."""
