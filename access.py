"""Access: policies for workers, submitters and operators, the worker role, and the stack's SSM parameter."""

from collections.abc import Callable
from typing import Any

import pulumi
from pulumi_aws import get_caller_identity_output, iam, ssm

from policies import resources, roles, statements
from queues import DurableQueue
from training_data import TrainingDataBucket


class Access(pulumi.ComponentResource):
    """Creates one customer-managed policy each for workers, submitters and operators, a role with an instance profile
    for worker machines, and an SSM parameter with the outputs that `trainq` needs."""

    def __init__(
        self,
        name: str,
        *,
        message: DurableQueue,
        model_training: DurableQueue,
        training_data: TrainingDataBucket,
        keys: pulumi.Output[statements.Keys],
        region: pulumi.Input[str],
        worker_principals: list[str],
        permissions_boundary: str | None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("model-training-queue:access:Access", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        self.parameter = ssm.Parameter(
            "stack-parameter",
            # A name that is known before the stack exists, so that a launch template can have it.
            name=f"/{pulumi.get_project()}/{pulumi.get_stack()}",
            description="What trainq needs to know of the stack",
            type="String",
            # Not a secret: an insecure value is shown in previews.
            insecure_value=pulumi.Output.json_dumps(
                {
                    "bucket_name": training_data.bucket.bucket,
                    "message_queue_url": message.queue.url,
                    "message_dead_letter_queue_url": message.dead_letter_queue.url,
                    "model_training_queue_url": model_training.queue.url,
                    "dead_letter_queue_url": model_training.dead_letter_queue.url,
                    "region": region,
                }
            ),
            opts=child,
        )
        resolved = pulumi.Output.all(
            message_queue=message.queue.arn,
            message_dlq=message.dead_letter_queue.arn,
            training_queue=model_training.queue.arn,
            training_dlq=model_training.dead_letter_queue.arn,
            bucket=training_data.bucket.arn,
            rest={"parameter_arn": self.parameter.arn, "keys": keys},
        )
        self.worker_policy = self._policy(
            "worker",
            "Take tasks from the model training queue and write their results",
            resolved,
            lambda a: roles.worker(a["training_queue"], a["training_dlq"], a["bucket"], **a["rest"]),
        )
        self.submitter_policy = self._policy(
            "submitter",
            "Upload datasets, submit training jobs and fetch their results",
            resolved,
            lambda a: roles.submitter(a["message_queue"], a["training_queue"], a["bucket"], **a["rest"]),
        )
        self.operator_policy = self._policy(
            "operator",
            "See runs and backlogs, and handle dead letters",
            resolved,
            lambda a: roles.operator(
                [a["message_queue"], a["training_queue"]],
                [a["message_dlq"], a["training_dlq"]],
                a["bucket"],
                **a["rest"],
            ),
        )
        self.worker_role = iam.Role(
            "worker-role",
            description="Worker machines of the model training queue",
            assume_role_policy=pulumi.Output.json_dumps(
                get_caller_identity_output().account_id.apply(
                    lambda account: resources.trust(worker_principals, account)
                )
            ),
            permissions_boundary=permissions_boundary,
            opts=child,
        )
        iam.RolePolicyAttachment(
            "worker-role-policy",
            role=self.worker_role.name,
            policy_arn=self.worker_policy.arn,
            opts=child,
        )
        # Named like its role, as the console does: with the role's ARN one can launch an instance.
        iam.InstanceProfile(
            "worker-instance-profile", name=self.worker_role.name, role=self.worker_role.name, opts=child
        )
        self.register_outputs({})

    def _policy(
        self,
        who: str,
        description: str,
        resolved: pulumi.Output[dict[str, Any]],
        document: Callable[[dict[str, Any]], statements.Document],
    ) -> iam.Policy:
        """Create a managed policy. `document`: makes it from the resolved ARNs."""
        return iam.Policy(
            f"{who}-policy",
            description=description,
            policy=pulumi.Output.json_dumps(resolved.apply(document)),
            opts=pulumi.ResourceOptions(parent=self),
        )
