"""Keeps signals away from threads other than the main thread."""

import signal

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


def leave_signals_to_the_main_thread() -> None:
    """Block the worker's signals in the calling thread. Every other thread calls this first: a signal that the kernel
    delivers there would not wake the main thread."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
