"""Lists, redrives and drops the messages of the two dead letter queues.

Listing receives every message and makes it visible again at once. Extra receives do no harm: a dead letter queue has
no receive limit. Moving sends a copy, then deletes the original: a crash in between leaves both, at worst.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, wait
from typing import Any

from botocore.exceptions import ClientError

from trainq.client.dead_letter import DeadLetter
from trainq.protocol import copies
from trainq.protocol.limits import MAX_BATCH
from trainq.protocol.messages import JOB_ID
from trainq.stack import Stack
from trainq.threads import leave_signals_to_the_main_thread

log = logging.getLogger(__name__)

# Visibility timeout while messages are listed. If this process is killed, they stay hidden for up to this long.
LOOK_SECONDS = 120
# Ctrl-C waits this long for a running request: a receive that is cut off may hold messages, which would stay hidden.
# A receive polls for 1 s.
CTRL_C_SECONDS = 3.0
GIVE_BACK_ATTEMPTS = 3
# SQS's error codes for a message that this receive hides no longer: it need not be made visible again.
VISIBLE = {"MessageNotInflight", "ReceiptHandleIsInvalid", "InvalidParameterValue"}
# Error codes of an SQS without message move tasks, such as an emulator.
UNSUPPORTED = {"InvalidAction", "UnknownOperationException"}


class DeadLetterQueue:
    """The dead letter queue of the 'message' or of the 'model-training' queue. May be used from one thread only."""

    def __init__(self, stack: Stack, queue: str) -> None:
        self.sqs, self.queue = stack.sqs, queue
        urls = {
            "message": (stack.message_dead_letter_queue_url, stack.message_queue_url),
            "model-training": (stack.dead_letter_queue_url, stack.model_training_queue_url),
        }
        self.url, self.source_url = urls[queue]
        # Receipt handles, by message id, of the messages that `held` hides.
        self._handles: dict[str, str] = {}

    def look(self) -> list[DeadLetter]:
        """Return all messages, oldest first, and make them visible again."""
        with self.held() as letters:
            return letters

    @contextlib.contextmanager
    def held(self, wanted: Callable[[DeadLetter], bool] = lambda letter: True) -> Generator[list[DeadLetter]]:
        """Hold the wanted messages, oldest first, hidden for up to two minutes; make all others visible again.

        When the block ends, also by an exception, the messages that were not moved or dropped become visible again.
        """
        try:
            letters = [each for each in self._receive_all() if wanted(each)]
            self._give_back(self._handles.keys() - {each.id for each in letters})
            yield letters
        finally:
            self._give_back(set(self._handles))
            self._handles.clear()

    def hidden(self) -> int:
        """Return about how many messages are in flight: received, and hidden until their visibility timeout."""
        name = "ApproximateNumberOfMessagesNotVisible"
        answer = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=[name])
        return int(answer["Attributes"][name])

    def move_back(self, letter: DeadLetter) -> None:
        """Send the message to the queue that it was on before, then delete it here. Its receives count from 1 again."""
        # A group only if the job's id is valid: SQS allows 128 characters in a group, and not every character.
        is_task = letter.job and letter.task is not None and JOB_ID.fullmatch(letter.job)
        group = letter.job if is_task else None
        copies.move(self.sqs, self.source_url, letter.body, delete=lambda: self.drop(letter), group=group)

    def drop(self, letter: DeadLetter) -> None:
        """Delete the message."""
        self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=letter.receipt_handle)
        self._handles.pop(letter.id, None)

    def move_all_on_aws(self) -> Iterator[tuple[int, int]]:
        """Let SQS move all messages back. Yields (messages moved, messages to move, approximately) until it is done.

        Raises ClientError with a code in UNSUPPORTED if SQS has no message move tasks (emulators), RuntimeError if the
        move fails.
        """
        arn, destination = (self._arn(url) for url in (self.url, self.source_url))
        # The destination must be named: SQS knows no source queue of messages that a worker or the function has sent.
        self.sqs.start_message_move_task(SourceArn=arn, DestinationArn=destination)
        while True:
            newest = self.sqs.list_message_move_tasks(SourceArn=arn, MaxResults=1)["Results"][0]
            yield newest.get("ApproximateNumberOfMessagesMoved", 0), newest.get("ApproximateNumberOfMessagesToMove", 0)
            if newest["Status"] == "COMPLETED":
                return
            if newest["Status"] != "RUNNING":
                raise RuntimeError(
                    f"the move ended as {newest['Status']}: {newest.get('FailureReason', 'no reason given')}"
                )
            time.sleep(1)

    def _arn(self, url: str) -> str:
        answer = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return answer["Attributes"]["QueueArn"]

    def _receive_all(self) -> list[DeadLetter]:
        found: dict[str, DeadLetter] = {}
        while True:
            messages = self._receive()
            # Only known messages: the queue is empty, or the first messages are visible again after LOOK_SECONDS.
            if all(each["MessageId"] in found for each in messages):
                return sorted(found.values(), key=lambda each: each.sent or 0)
            found |= {each["MessageId"]: DeadLetter.of(self.queue, each) for each in messages}

    def _receive(self) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []

        def receive() -> None:
            # A long poll asks all of SQS's servers: an empty answer means an empty queue.
            answer = self.sqs.receive_message(
                QueueUrl=self.url,
                MaxNumberOfMessages=MAX_BATCH,
                VisibilityTimeout=LOOK_SECONDS,
                WaitTimeSeconds=1,
                MessageAttributeNames=["All"],
                MessageSystemAttributeNames=["SentTimestamp"],
            )
            messages.extend(answer.get("Messages", ()))
            # Store the handles first: the messages are made visible again whatever happens next.
            self._handles.update({each["MessageId"]: each["ReceiptHandle"] for each in messages})

        _finish(receive)
        return messages

    def _give_back(self, ids: set[str]) -> None:
        """Make the messages visible again. Messages that SQS refuses are retried; a warning names the rest."""
        if ids:
            _finish(lambda: self._release_all(sorted(ids)))

    def _release_all(self, ids: list[str]) -> None:
        failed: dict[str, str] = {}
        for _ in range(GIVE_BACK_ATTEMPTS):
            failed = {}
            for start in range(0, len(ids), MAX_BATCH):
                failed |= self._release(ids[start : start + MAX_BATCH])
            ids = list(failed)
        if failed:
            log.warning(
                "%s: %d messages could not be given back, and are hidden for up to %d s: %s",
                self.queue,
                len(failed),
                LOOK_SECONDS,
                next(iter(failed.values())),
            )

    def _release(self, ids: list[str]) -> dict[str, str]:
        """Make up to ten messages visible again. Return the error text, by id, of those that are still hidden."""
        entries = [
            {"Id": str(number), "ReceiptHandle": self._handles[each], "VisibilityTimeout": 0}
            for number, each in enumerate(ids)
        ]
        try:
            answer = self.sqs.change_message_visibility_batch(QueueUrl=self.url, Entries=entries)
        except Exception as error:
            # An error of one batch must not stop the next.
            return dict.fromkeys(ids, str(error))
        failed = {
            ids[int(each["Id"])]: f"{each['Code']} {each.get('Message', '')}"
            for each in answer.get("Failed", ())
            if each["Code"].rsplit(".", 1)[-1] not in VISIBLE
        }
        for each in set(ids) - set(failed):
            self._handles.pop(each, None)
        return failed


def _finish(call: Callable[[], None]) -> None:
    """Call the function in a thread of its own: Ctrl-C waits up to CTRL_C_SECONDS for it, instead of cutting it off."""
    ended: Future[None] = Future()

    def run() -> None:
        leave_signals_to_the_main_thread()
        try:
            call()
        except BaseException as error:
            ended.set_exception(error)
        else:
            ended.set_result(None)

    # A daemon thread: a request that hangs does not keep the process alive.
    thread = threading.Thread(target=run, daemon=True)
    try:
        # Inside `try`: start() waits until the thread runs, and Ctrl-C may come after that.
        thread.start()
        ended.result()
    except KeyboardInterrupt:
        wait([ended], CTRL_C_SECONDS)
        raise


def is_unsupported(error: ClientError) -> bool:
    """Return whether the error means that SQS has no message move tasks."""
    return error.response["Error"]["Code"] in UNSUPPORTED
