"""Requests are counted at the emulator."""

from local.counts import onlooker, request_log
from local.emulator import Emulator


def test_requests_are_counted_by_service_and_action_and_onlookers_are_not() -> None:
    with Emulator(request_log=True) as emulator:
        sqs, s3 = emulator.client("sqs"), emulator.client("s3")
        url = sqs.create_queue(QueueName="q")["QueueUrl"]
        s3.create_bucket(Bucket="counted")
        request_log(emulator, "DELETE")
        sqs.send_message_batch(QueueUrl=url, Entries=[{"Id": "0", "MessageBody": "x"}])
        s3.put_object(Bucket="counted", Key="k", Body=b"x")
        s3.list_objects_v2(Bucket="counted")
        onlooker(emulator).list_objects_v2(Bucket="counted")
        assert [what for _, _, what in request_log(emulator)] == ["sqs:SendMessageBatch", "s3:PUT", "s3:LIST"]
