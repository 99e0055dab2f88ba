"""``python -m tabtune_core``: the command line."""

from tabtune_core.cli.main import program

if __name__ == "__main__":
    program()
