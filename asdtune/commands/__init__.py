"""One function a command: read settings, call the core, draw its progress, sum up."""
