"""Access: what workers, submitters and operators may do, ready to attach."""

import pulumi
from pulumi_aws import iam

import policies
from queues import DurableQueue
from training_data import TrainingDataBucket


class Access(pulumi.ComponentResource):
    """One customer-managed policy each for workers, submitters and operators; a role and an instance profile
    for worker machines."""

    def __init__(
        self,
        name: str,
        *,
        message: DurableQueue,
        model_training: DurableQueue,
        training_data: TrainingDataBucket,
        worker_principals: list[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("model-training-queue:access:Access", name, None, opts)
        arns = {
            "message_queue_arn": message.queue.arn,
            "message_dlq_arn": message.dead_letter_queue.arn,
            "training_queue_arn": model_training.queue.arn,
            "training_dlq_arn": model_training.dead_letter_queue.arn,
            "bucket_arn": training_data.bucket.arn,
        }
        resolved = pulumi.Output.all(**arns)
        self.worker_policy = self._policy(
            "worker",
            "Take tasks from the model training queue and write their results",
            resolved.apply(lambda a: policies.worker(a["training_queue_arn"], a["training_dlq_arn"], a["bucket_arn"])),
        )
        self.submitter_policy = self._policy(
            "submitter",
            "Upload datasets, submit training jobs and fetch their results",
            resolved.apply(
                lambda a: policies.submitter(a["message_queue_arn"], a["training_queue_arn"], a["bucket_arn"])
            ),
        )
        self.operator_policy = self._policy(
            "operator",
            "See runs and backlogs, and handle dead letters",
            resolved.apply(
                lambda a: policies.operator(
                    [a["message_queue_arn"], a["training_queue_arn"]],
                    [a["message_dlq_arn"], a["training_dlq_arn"]],
                    a["bucket_arn"],
                )
            ),
        )
        child = pulumi.ResourceOptions(parent=self)
        self.worker_role = iam.Role(
            "worker-role",
            description="Worker machines of the model training queue",
            assume_role_policy=pulumi.Output.json_dumps(policies.trust(worker_principals)),
            opts=child,
        )
        iam.RolePolicyAttachment(
            "worker-role-policy",
            role=self.worker_role.name,
            policy_arn=self.worker_policy.arn,
            opts=child,
        )
        # Named like its role, as the console does it: whoever knows the role's ARN can launch an instance with it.
        iam.InstanceProfile(
            "worker-instance-profile", name=self.worker_role.name, role=self.worker_role.name, opts=child
        )
        self.register_outputs({})

    def _policy(self, who: str, description: str, document: pulumi.Output[policies.Document]) -> iam.Policy:
        return iam.Policy(
            f"{who}-policy",
            description=description,
            policy=pulumi.Output.json_dumps(document),
            opts=pulumi.ResourceOptions(parent=self),
        )
