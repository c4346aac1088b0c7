"""The check-up: what is installed, what the work ahead needs, how far each stage is."""
