"""The entry point of the program."""

import signal
import sys
from types import FrameType


def main() -> None:
    """Run the command line. Ctrl-C prints one line and exits with 130, also while modules are being imported."""
    # Before the imports, which take half a second. As PID 1 of a container, a process hears only signals that it
    # handles: https://man7.org/linux/man-pages/man2/kill.2.html
    for number in (signal.SIGTERM, signal.SIGHUP):
        # SIGHUP is ignored under nohup.
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _exit)
    try:
        from trainq.cli import main as run

        run()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _exit(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
