"""The work itself; knows nothing of terminals, Typer or the project file."""
