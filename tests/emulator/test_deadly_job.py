"""A job at which the function's process dies, in the emulator: as deployed but for one file."""

import json
from pathlib import Path

import training_lambda_archive
from local.deploy import deploy
from local.emulator import Emulator
from local.provider import zipped
from tests.helpers.deployed import Deployed
from tests.helpers.waiting import eventually
from trainq.protocol import layout

DEADLY = """
import os
from lambda_src import handler as function
from lambda_src.dispatch import Dispatcher

dispatch = Dispatcher.dispatch

def dispatch_or_die(self, job):
    if job.job_id == "poison":
        os._exit(1)
    return dispatch(self, job)

Dispatcher.dispatch = dispatch_or_die
handler = function.handler
"""


def test_a_job_at_which_the_functions_process_dies_is_set_apart(emulator: Emulator, tmp_path: Path) -> None:
    """With a visibility timeout of seconds, or it would take hours."""
    deployed = Deployed(emulator, deploy(emulator, tmp_path / "stack.json"), tmp_path)
    deployed.put_dataset("d", {"1": b"x"})
    (tmp_path / "deadly.py").write_text(DEADLY)
    files = {name: str(path) for name, path in training_lambda_archive.files().items()}
    function, functions = deployed.outputs["message_processor_name"], emulator.client("lambda")
    functions.update_function_code(
        FunctionName=function, ZipFile=zipped(files | {"lambda_src/deadly.py": str(tmp_path / "deadly.py")})
    )

    def set_visibility_timeout(seconds: int) -> None:
        known = functions.get_function_configuration(FunctionName=function)["Environment"]["Variables"]
        known["MESSAGE_QUEUE_VISIBILITY_TIMEOUT"] = str(seconds)
        functions.update_function_configuration(
            FunctionName=function, Handler="lambda_src.deadly.handler", Environment={"Variables": known}
        )
        deployed.stack.sqs.set_queue_attributes(
            QueueUrl=deployed.outputs["message_queue_url"], Attributes={"VisibilityTimeout": str(seconds)}
        )

    set_visibility_timeout(8)
    (mapping,) = functions.list_event_source_mappings(FunctionName=function)["EventSourceMappings"]
    functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    good = [f"good-{number}" for number in range(9)]
    for name in ["poison", *good]:
        deployed.submit(job_id=name, dataset="datasets/d/")
    functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)
    eventually(
        lambda: all(deployed.keys(layout.dispatched(name)) for name in good),
        "the good jobs are dispatched",
        seconds=150,
    )
    # An invocation that takes longer than the visibility timeout, as on a loaded machine, would have the message
    # received again meanwhile, and moved by SQS itself without a reason.
    eventually(lambda: deployed.waiting("message_dead_letter_queue_url"), "the poison is dead-lettered", seconds=150)
    (dead,) = deployed.receive_all("message_dead_letter_queue_url")
    assert json.loads(dead["Body"])["job_id"] == "poison"
    assert "no invocation that took it came to an end" in dead["MessageAttributes"]["reason"]["StringValue"]
