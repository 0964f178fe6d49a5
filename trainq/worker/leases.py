"""One received message, for as long as this worker has it to itself."""

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from trainq.worker.signals import Why

if TYPE_CHECKING:
    from trainq.worker.heartbeat import Leases

log = logging.getLogger(__name__)

# A message is never hidden for longer than 12 h from its receive, and SQS refuses to be asked for more.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html
MAX_HIDDEN_SECONDS = 12 * 3600 - 10
NEVER = float("inf")


def now() -> float:
    """Seconds, counting also those that the machine slept, as a closed laptop does; SQS does not sleep."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Lease:
    """A message in flight, kept by `Leases` until it is released. All times are of the clock of `now`."""

    def __init__(self, leases: "Leases", handle: str, received: float, wall: float) -> None:
        self.leases, self.handle, self.received = leases, handle, received
        self.expires = received + leases.timeout
        self.beat = received + leases.interval
        self.wall = received + wall
        self.look_at = NEVER
        self.lost = self.released = False
        # Why the work must end, kept for when it begins.
        self._due: Why | None = None
        self._on_end: Callable[[Why], None] = lambda why: None
        self._on_look: Callable[[], None] = lambda: None

    def begin(self, *, on_end: Callable[[Why], None], on_look: Callable[[], None], first_look: float) -> None:
        """The work begins. `on_end` hears that it must end: the lease is lost, or the wall is reached. `on_look` is
        called in `first_look` seconds, and with every heartbeat. Both in another thread."""
        self._on_end, self._on_look = on_end, on_look
        self.look_at = now() + first_look
        self.leases.wake_by(self.look_at)
        if self._due:
            on_end(self._due)

    def wind_up(self) -> None:
        """The work is done but for its result: no look until the next heartbeat."""
        self.look_at = NEVER

    def release(self) -> None:
        """No heartbeat comes after this: it would hide a message again that is to be given back."""
        self.leases.release(self)

    @property
    def due(self) -> float:
        """When something is to be done about it."""
        return min(self.beat, self.expires, self.wall, self.look_at)

    @property
    def left(self) -> float:
        """Seconds for which SQS may still hide it."""
        return MAX_HIDDEN_SECONDS - (now() - self.received)

    def end(self, why: Why) -> None:
        self._due = why
        self._on_end(why)

    def lose(self, reason: str) -> None:
        # What fails because the message was deleted or given back meanwhile is no loss.
        if not self.released:
            self.lost = True
            log.warning("lost the lease of a message, which another worker may have by now: %s", reason)
            self.end(Why.LOST)

    def look(self) -> None:
        self.look_at = NEVER
        try:
            self._on_look()
        except Exception as error:
            log.warning("this task's state could not be reported: %s", error)
