"""The commands: each parses, calls one stage and prints its result."""
