"""The two dead letter queues: look, move back, drop.

Looking receives every message and gives it back at once, so that nothing is hidden or used up: on a dead letter queue
the number of receives does not matter. Moving copies first and deletes then: a crash in between duplicates, at worst.
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

# For how long the messages that are looked at are hidden from others, should this process be killed.
LOOK_SECONDS = 120
# How long Ctrl-C waits for a request that is under way: an answer that is cut off may hold messages, which stay hidden.
# Longer than a receive, which polls for a second.
CTRL_C_SECONDS = 3.0
GIVE_BACK_ATTEMPTS = 3
# SQS's ways to say that a message is not hidden by this receive any more, and need not be given back.
VISIBLE = {"MessageNotInflight", "ReceiptHandleIsInvalid", "InvalidParameterValue"}
UNSUPPORTED = {"InvalidAction", "UnknownOperationException"}


class DeadLetterQueue:
    """One of the stack's dead letter queues: of the 'message' or of the 'model-training' queue. For one thread."""

    def __init__(self, stack: Stack, queue: str) -> None:
        self.sqs, self.queue = stack.sqs, queue
        urls = {
            "message": (stack.message_dead_letter_queue_url, stack.message_queue_url),
            "model-training": (stack.dead_letter_queue_url, stack.model_training_queue_url),
        }
        self.url, self.source_url = urls[queue]
        # Receipt handles of the messages that `held` hides from others, by their ids.
        self._handles: dict[str, str] = {}

    def look(self) -> list[DeadLetter]:
        """Every message, oldest first. They can be received again when this returns."""
        with self.held() as letters:
            return letters

    @contextlib.contextmanager
    def held(self, wanted: Callable[[DeadLetter], bool] = lambda letter: True) -> Generator[list[DeadLetter]]:
        """Hide the wanted messages, oldest first, from others for two minutes; the rest can be received again.

        Whatever ends it: all that was received, and not moved or dropped, is given back.
        """
        try:
            letters = [each for each in self._receive_all() if wanted(each)]
            self._give_back(self._handles.keys() - {each.id for each in letters})
            yield letters
        finally:
            self._give_back(set(self._handles))
            self._handles.clear()

    def hidden(self) -> int:
        """About how many messages nobody can see now, since somebody has received them."""
        name = "ApproximateNumberOfMessagesNotVisible"
        answer = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=[name])
        return int(answer["Attributes"][name])

    def move_back(self, letter: DeadLetter) -> None:
        """Send it to the queue that it was on, where its count begins anew, then delete it here."""
        # A job's name that is none is no group either: SQS takes 128 characters, and not all of them.
        is_task = letter.job and letter.task is not None and JOB_ID.fullmatch(letter.job)
        group = letter.job if is_task else None
        copies.move(self.sqs, self.source_url, letter.body, delete=lambda: self.drop(letter), group=group)

    def drop(self, letter: DeadLetter) -> None:
        self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=letter.receipt_handle)
        self._handles.pop(letter.id, None)

    def move_all_on_aws(self) -> Iterator[tuple[int, int]]:
        """Have SQS move everything back; yields (moved, of how many, about) until it is done.

        Raises ClientError with a code in UNSUPPORTED where SQS cannot do it, an emulator for instance.
        """
        arn, destination = (self._arn(url) for url in (self.url, self.source_url))
        # The destination is named: what a worker or the function put here itself has no queue that it came from.
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
            # When all of them are known, the first are visible again: there are more than can be seen in the time.
            if all(each["MessageId"] in found for each in messages):
                return sorted(found.values(), key=lambda each: each.sent or 0)
            found |= {each["MessageId"]: DeadLetter.of(self.queue, each) for each in messages}

    def _receive(self) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []

        def receive() -> None:
            # A long poll asks all of SQS's servers, so that an empty answer means an empty queue.
            answer = self.sqs.receive_message(
                QueueUrl=self.url,
                MaxNumberOfMessages=MAX_BATCH,
                VisibilityTimeout=LOOK_SECONDS,
                WaitTimeSeconds=1,
                MessageAttributeNames=["All"],
                MessageSystemAttributeNames=["SentTimestamp"],
            )
            messages.extend(answer.get("Messages", ()))
            # Before anything else is done with them.
            self._handles.update({each["MessageId"]: each["ReceiptHandle"] for each in messages})

        _finish(receive)
        return messages

    def _give_back(self, ids: set[str]) -> None:
        """Have these messages received again, at once. What SQS does not do is tried again, then said."""
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
        """Up to ten; returns what SQS says of those that are still hidden."""
        entries = [
            {"Id": str(number), "ReceiptHandle": self._handles[each], "VisibilityTimeout": 0}
            for number, each in enumerate(ids)
        ]
        try:
            answer = self.sqs.change_message_visibility_batch(QueueUrl=self.url, Entries=entries)
        except Exception as error:
            # The next batch is to be tried, whatever became of this one.
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
    """Call it in a thread, so that Ctrl-C does not cut it off but waits for its end for CTRL_C_SECONDS."""
    ended: Future[None] = Future()

    def run() -> None:
        leave_signals_to_the_main_thread()
        try:
            call()
        except BaseException as error:
            ended.set_exception(error)
        else:
            ended.set_result(None)

    # A daemon: the process ends although a request hangs.
    thread = threading.Thread(target=run, daemon=True)
    try:
        # Within, since it waits until the thread runs, and may be interrupted after that.
        thread.start()
        ended.result()
    except KeyboardInterrupt:
        wait([ended], CTRL_C_SECONDS)
        raise


def is_unsupported(error: ClientError) -> bool:
    return error.response["Error"]["Code"] in UNSUPPORTED
