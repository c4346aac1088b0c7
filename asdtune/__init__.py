"""Teach active speaker detection a new language: from vlogs to an AnnoTheia language folder."""

__version__ = "0.1.0"
