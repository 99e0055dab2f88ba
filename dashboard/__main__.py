"""Entry point of the dashboard: ``python -m dashboard`` and the installed script."""

from tabtune_core.__main__ import loading


def program() -> None:
    """Loads the dashboard and serves until interrupted."""
    with loading():
        from dashboard.start import main
    main()


if __name__ == "__main__":
    program()
