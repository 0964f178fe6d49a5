"""The signals that a worker handles, which are kept away from threads other than the main thread."""

import signal

# A terminal or an ssh session that goes sends SIGHUP.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def stop_signals() -> list[signal.Signals]:
    """Return the signals that request a stop: without SIGHUP if it is ignored, as under nohup."""
    nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [number for number in STOP_SIGNALS if number is not signal.SIGHUP or not nohup]


def leave_signals_to_the_main_thread() -> None:
    """Block the worker's signals in the calling thread. Every other thread calls this first: a signal that the kernel
    delivers there would not wake the main thread."""
    signal.pthread_sigmask(signal.SIG_BLOCK, (*STOP_SIGNALS, signal.SIGUSR1))
