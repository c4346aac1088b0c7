"""Run the command line: `python -m asdtune`."""

from asdtune.cli import app

if __name__ == "__main__":
    app(prog_name="asdtune")
