"""Leases on received messages: heartbeats extend the visibility timeout, so that no other worker receives them."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from botocore.exceptions import ClientError

from trainq.protocol import events
from trainq.protocol.events import tell
from trainq.protocol.limits import MAX_BATCH, MAX_HIDDEN_SECONDS
from trainq.threads import leave_signals_to_the_main_thread
from trainq.worker.outcome import Outcome

log = logging.getLogger(__name__)

BEATS_PER_TIMEOUT = 3
# SQS's error codes for a message whose visibility timeout has passed or that was deleted.
LOST = {"ReceiptHandleIsInvalid", "MessageNotInflight", "InvalidParameterValue"}
NEVER = float("inf")

# Called with outcome and reason, in the heartbeat thread, when the task must end.
OnEnd = Callable[[Outcome, str], object]


def now() -> float:
    """Return the time in seconds, by a clock that also counts while the machine sleeps: SQS's timeouts do, too."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Lease:
    """The lease on one message in flight. `Leases` extends it until it is released. Times are of the clock of `now`."""

    def __init__(self, leases: "Leases", handle: str, received: float, max_hold: float) -> None:
        self.leases, self.handle, self.received = leases, handle, received
        self.expires = received + leases.timeout
        self.beat = received + leases.interval
        self.hold_until = received + max_hold
        self.lost = self.released = False
        # Outcome and reason, kept for an `attach` that comes later.
        self._ended: tuple[Outcome, str] | None = None
        self._on_end: OnEnd | None = None

    def attach(self, on_end: OnEnd) -> None:
        """Call `on_end` when the lease is lost or `max_hold` has passed; at once if that has happened already."""
        self._on_end = on_end
        if self._ended:
            on_end(*self._ended)

    def release(self) -> None:
        """Stop the heartbeats. Waits for one that is under way: a later one would hide a released message again."""
        self.leases.release(self)

    @property
    def due(self) -> float:
        """Return the time of the next heartbeat, expiry or hold limit, whichever is first."""
        return min(self.beat, self.expires, self.hold_until)

    @property
    def left(self) -> float:
        """Return for how many seconds SQS may still hide the message: 12 h from its receive at most."""
        return MAX_HIDDEN_SECONDS - (now() - self.received)

    def is_held(self) -> bool:
        """Return whether SQS still hides the message from other workers."""
        return not self.lost and now() < self.expires

    def end(self, outcome: Outcome, reason: str = "") -> None:
        """Tell the attempt that it must end."""
        self._ended = (outcome, reason)
        if self._on_end:
            self._on_end(outcome, reason)

    def lose(self, reason: str) -> None:
        """Mark the lease as lost and end the attempt, unless the lease was released before."""
        # A heartbeat may fail because the message was deleted or released meanwhile: then nothing is lost.
        if not self.released:
            self.lost = True
            self.end(Outcome.LEASE_LOST, reason)


class Leases:
    """The leases of one worker. One thread extends them together, every third of `timeout` (seconds): a task that ends
    before costs no heartbeat. May be used from any thread."""

    def __init__(self, sqs: Any, url: str, timeout: int) -> None:
        """Start the heartbeat thread. `sqs`: `Stack.heartbeat_client`. `timeout`: the visibility timeout in seconds."""
        self.sqs, self.url, self.timeout = sqs, url, timeout
        self.interval = timeout / BEATS_PER_TIMEOUT
        self._held: list[Lease] = []
        self._next = NEVER
        self._changing, self._beating = threading.Lock(), threading.Lock()
        self._wake, self._closed = threading.Event(), False
        self._thread = threading.Thread(target=self._run, daemon=True, name="heartbeat")
        self._thread.start()

    def hold(self, handle: str, *, received: float, max_hold: float) -> Lease:
        """Lease a message and return its lease. `handle`: the receipt handle. `received`: `now()` just before the
        receive. `max_hold`: seconds from `received` after which the attempt must end."""
        lease = Lease(self, handle, received, max_hold)
        with self._changing:
            self._held.append(lease)
            if lease.due < self._next:
                self._wake.set()
        return lease

    def release(self, lease: Lease) -> None:
        """Stop the heartbeats of a lease. Returns when none is under way."""
        with self._changing:
            lease.released = True
            if lease in self._held:
                self._held.remove(lease)
        # Wait for a heartbeat that is under way.
        with self._beating:
            pass

    def close(self) -> None:
        """End the heartbeat thread and return when it has ended."""
        self._closed = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        leave_signals_to_the_main_thread()
        while not self._closed:
            with self._changing:
                self._held = [lease for lease in self._held if not lease.lost]
                self._next = min((lease.due for lease in self._held), default=NEVER)
            # Event.wait() rejects infinity: wake at least every 60 s.
            self._wake.wait(max(0.0, min(self._next - now(), 60)))
            self._wake.clear()
            with self._beating:
                self._check()

    def _active(self) -> list[Lease]:
        with self._changing:
            return [lease for lease in self._held if not lease.lost]

    def _check(self) -> None:
        for lease in self._active():
            if now() >= lease.hold_until:
                lease.hold_until = NEVER
                lease.end(Outcome.HOLD_LIMIT)
            if now() >= lease.expires:
                lease.lose("its visibility timeout passed without a heartbeat")
            elif now() >= lease.beat and lease.left < 1:
                lease.lose("12 h have passed since its receive")
        held = self._active()
        if any(now() >= lease.beat for lease in held):
            # Extend leases, too, that are due within half an interval: from then on they share requests.
            due = [lease for lease in held if now() >= lease.beat - self.interval / 2 and lease.left >= 1]
            for start in range(0, len(due), MAX_BATCH):
                self._extend(due[start : start + MAX_BATCH])

    def _extend(self, leases: Sequence[Lease]) -> None:
        asked = now()
        timeouts = [max(1, min(self.timeout, int(lease.left))) for lease in leases]
        entries = [
            {"Id": str(number), "ReceiptHandle": lease.handle, "VisibilityTimeout": timeout}
            for number, (lease, timeout) in enumerate(zip(leases, timeouts, strict=True))
        ]
        try:
            answer = self.sqs.change_message_visibility_batch(QueueUrl=self.url, Entries=entries)
            failed = {int(each["Id"]): (each["Code"], each.get("Message", "")) for each in answer.get("Failed", ())}
        except Exception as error:
            code = error.response["Error"]["Code"] if isinstance(error, ClientError) else ""
            failed = dict.fromkeys(range(len(leases)), (code, str(error)))
        refused = ""
        for number, (lease, timeout) in enumerate(zip(leases, timeouts, strict=True)):
            code, reason = failed.get(number, ("", ""))
            if number not in failed:
                lease.expires, lease.beat = asked + timeout, now() + self.interval
            elif code.rsplit(".", 1)[-1] in LOST:
                lease.lose(reason or code)
            else:
                lease.beat, refused = now() + self.interval / 4, reason or code
        if refused:
            tell(log, events.HEARTBEAT_FAILED, reason=refused)
