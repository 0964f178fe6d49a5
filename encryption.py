"""EncryptionKey: a key of the stack's own, for what it stores."""

import pulumi
from pulumi_aws import get_caller_identity_output, kms

import policies

# KMS's longest: without the key everything that it encrypted is gone.
DELETION_WINDOW_DAYS = 30


class EncryptionKey(pulumi.ComponentResource):
    """A customer-managed KMS key that is renewed every year, with an alias to find it by."""

    def __init__(
        self,
        name: str,
        *,
        description: str,
        region: pulumi.Input[str],
        protect: bool,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("model-training-queue:encryption:EncryptionKey", name, None, opts)
        key = kms.Key(
            name,
            description=description,
            enable_key_rotation=True,
            deletion_window_in_days=DELETION_WINDOW_DAYS,
            policy=pulumi.Output.json_dumps(
                pulumi.Output.all(get_caller_identity_output().account_id, region).apply(
                    lambda known: policies.encryption_key(*known)
                )
            ),
            opts=pulumi.ResourceOptions(parent=self, protect=protect),
        )
        kms.Alias(
            f"{name}-alias",
            name_prefix=f"alias/{pulumi.get_project()}-{pulumi.get_stack()}-".replace(".", "-"),
            target_key_id=key.key_id,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.arn: pulumi.Input[str] = key.arn
        self.register_outputs({})
