"""TrainingDataBucket: the bucket for datasets and runs, with all its protections."""

import pulumi
from pulumi_aws import s3

from policies import resources

ABORT_MULTIPART_UPLOADS_AFTER_DAYS = 7


class TrainingDataBucket(pulumi.ComponentResource):
    """Creates a private, encrypted, versioned, TLS-only bucket in which a committed result cannot be overwritten."""

    def __init__(
        self,
        name: str,
        *,
        noncurrent_version_days: int,
        protect: bool,
        force_destroy: bool,
        encryption_key: pulumi.Input[str] | None,
        access_log_bucket: str | None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("model-training-queue:training_data:TrainingDataBucket", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        self.bucket = s3.Bucket(
            name,
            force_destroy=force_destroy,
            opts=pulumi.ResourceOptions(parent=self, protect=protect),
        )
        s3.BucketServerSideEncryptionConfiguration(
            f"{name}-encryption",
            bucket=self.bucket.bucket,
            rules=[_encryption(encryption_key)],
            opts=child,
        )
        versioning = s3.BucketVersioning(
            f"{name}-versioning",
            bucket=self.bucket.bucket,
            versioning_configuration={"status": "Enabled"},
            opts=child,
        )
        s3.BucketOwnershipControls(
            f"{name}-ownership",
            bucket=self.bucket.bucket,
            rule={"object_ownership": "BucketOwnerEnforced"},
            opts=child,
        )
        public_access_block = s3.BucketPublicAccessBlock(
            f"{name}-public-access-block",
            bucket=self.bucket.bucket,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=child,
        )
        s3.BucketLifecycleConfiguration(
            f"{name}-lifecycle",
            bucket=self.bucket.bucket,
            rules=[
                {
                    "id": "abort-unfinished-multipart-uploads",
                    "status": "Enabled",
                    "filter": {"prefix": ""},
                    "abort_incomplete_multipart_upload": {"days_after_initiation": ABORT_MULTIPART_UPLOADS_AFTER_DAYS},
                },
                {
                    "id": "expire-noncurrent-versions",
                    "status": "Enabled",
                    "filter": {"prefix": ""},
                    "noncurrent_version_expiration": {"noncurrent_days": noncurrent_version_days},
                },
            ],
            # Noncurrent versions exist only once versioning is on.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[versioning]),
        )
        if access_log_bucket:
            s3.BucketLogging(
                f"{name}-access-logs",
                bucket=self.bucket.bucket,
                target_bucket=access_log_bucket,
                target_prefix=f"{pulumi.get_project()}/{pulumi.get_stack()}/",
                opts=child,
            )
        s3.BucketPolicy(
            f"{name}-policy",
            bucket=self.bucket.bucket,
            policy=pulumi.Output.json_dumps(self.bucket.arn.apply(resources.bucket)),
            # After the public access block: S3 answers OperationAborted if both change at the same time.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[public_access_block]),
        )
        self.register_outputs({})


def _encryption(key: pulumi.Input[str] | None) -> s3.BucketServerSideEncryptionConfigurationRuleArgsDict:
    if key is None:
        return {"apply_server_side_encryption_by_default": {"sse_algorithm": "AES256"}}
    return {
        "apply_server_side_encryption_by_default": {"sse_algorithm": "aws:kms", "kms_master_key_id": key},
        # With a bucket key, S3 asks KMS once for many objects.
        "bucket_key_enabled": True,
    }
