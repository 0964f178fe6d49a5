"""Where the program begins: also Ctrl-C while it is still being loaded ends in a line."""

import sys


def main() -> None:
    try:
        from trainq.cli import main as run

        run()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
