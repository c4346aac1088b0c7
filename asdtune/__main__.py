"""Run the command line: `python -m asdtune`."""

import sys


def main() -> None:
    """Run a command, and end quietly on a Ctrl-C that comes before it has begun."""
    try:
        from asdtune.cli import app
    except KeyboardInterrupt:
        sys.exit(130)
    app(prog_name="asdtune")


if __name__ == "__main__":
    main()
