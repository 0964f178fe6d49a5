"""The entry point of the program."""

import sys


def main() -> None:
    """Run the command line. Ctrl-C prints one line and exits with 130, also while modules are being imported."""
    try:
        from trainq.cli import main as run

        run()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
