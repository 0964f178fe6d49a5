"""EncryptionKey: a KMS key of the stack's own, for its queues, bucket, logs and topic."""

import pulumi
from pulumi_aws import get_caller_identity_output, kms

from policies import resources, statements
from settings import Settings, service_name

# The longest that KMS allows: without the key, everything that it has encrypted is lost.
DELETION_WINDOW_DAYS = 30


def encryption_key(settings: Settings, region: pulumi.Input[str]) -> pulumi.Input[str] | None:
    """Return the ARN of the key by the setting `kms_key`: a new key, an existing one, or None for AWS's own keys."""
    if settings.kms_key != "create":
        return settings.kms_key
    return EncryptionKey(
        "encryption-key",
        description="Queues, training data, logs and alarms of the model training queue",
        region=region,
        protect=settings.bucket_protect,
    ).arn


def keys(
    encryption_key: pulumi.Input[str] | None, region: pulumi.Input[str], settings: Settings
) -> pulumi.Output[statements.Keys]:
    """Return the keys that the stack's roles may use."""
    return pulumi.Output.all(encryption_key, region).apply(
        lambda known: statements.Keys(known[0], settings.former_kms_keys, known[1])
    )


class EncryptionKey(pulumi.ComponentResource):
    """Creates a customer-managed KMS key that rotates every year, and an alias for it."""

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
                    lambda known: resources.encryption_key(*known)
                )
            ),
            opts=pulumi.ResourceOptions(parent=self, protect=protect),
        )
        kms.Alias(
            f"{name}-alias",
            name_prefix=f"alias/{service_name()}-".replace(".", "-"),
            target_key_id=key.key_id,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.arn: pulumi.Input[str] = key.arn
        self.register_outputs({})
