"""Threads and signals."""

import signal

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


def leave_signals_to_the_main_thread() -> None:
    """For other threads to call when they begin: a signal that the kernel delivers to one of them wakes nobody."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
