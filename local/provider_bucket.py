"""Creates the bucket and its configuration in the emulator: see `provider`."""

from typing import Any

Inputs = dict[str, Any]
Made = tuple[str, Inputs]


def bucket(aws: Inputs, name: str, inputs: Inputs) -> Made:
    aws["s3"].create_bucket(Bucket=name)
    return name, {"bucket": name, "arn": f"arn:aws:s3:::{name}"}


def bucket_versioning(aws: Inputs, name: str, inputs: Inputs) -> Made:
    aws["s3"].put_bucket_versioning(
        Bucket=inputs["bucket"], VersioningConfiguration=capitalized(inputs["versioningConfiguration"])
    )
    return inputs["bucket"], {}


def bucket_encryption(aws: Inputs, name: str, inputs: Inputs) -> Made:
    (rule,) = inputs["rules"]
    default = rule["applyServerSideEncryptionByDefault"]
    encryption = {"SSEAlgorithm": default["sseAlgorithm"]}
    if "kmsMasterKeyId" in default:
        encryption["KMSMasterKeyID"] = default["kmsMasterKeyId"]
    made = {"ApplyServerSideEncryptionByDefault": encryption, "BucketKeyEnabled": rule.get("bucketKeyEnabled", False)}
    aws["s3"].put_bucket_encryption(Bucket=inputs["bucket"], ServerSideEncryptionConfiguration={"Rules": [made]})
    return inputs["bucket"], {}


def bucket_logging(aws: Inputs, name: str, inputs: Inputs) -> Made:
    where = {"TargetBucket": inputs["targetBucket"], "TargetPrefix": inputs["targetPrefix"]}
    aws["s3"].put_bucket_logging(Bucket=inputs["bucket"], BucketLoggingStatus={"LoggingEnabled": where})
    return inputs["bucket"], {}


def bucket_ownership(aws: Inputs, name: str, inputs: Inputs) -> Made:
    aws["s3"].put_bucket_ownership_controls(
        Bucket=inputs["bucket"], OwnershipControls={"Rules": [capitalized(inputs["rule"])]}
    )
    return inputs["bucket"], {}


def bucket_public_access_block(aws: Inputs, name: str, inputs: Inputs) -> Made:
    block = {key: value for key, value in inputs.items() if isinstance(value, bool)}
    aws["s3"].put_public_access_block(Bucket=inputs["bucket"], PublicAccessBlockConfiguration=capitalized(block))
    return inputs["bucket"], {}


def bucket_lifecycle(aws: Inputs, name: str, inputs: Inputs) -> Made:
    rules = [capitalized(rule) | {"ID": rule["id"]} for rule in inputs["rules"]]
    for rule in rules:
        del rule["Id"]
    aws["s3"].put_bucket_lifecycle_configuration(Bucket=inputs["bucket"], LifecycleConfiguration={"Rules": rules})
    return inputs["bucket"], {}


def bucket_policy(aws: Inputs, name: str, inputs: Inputs) -> Made:
    aws["s3"].put_bucket_policy(Bucket=inputs["bucket"], Policy=inputs["policy"])
    return inputs["bucket"], {}


def capitalized(value: Any, *, nested: bool = True) -> Any:
    """Turn Pulumi's names into AWS's, except names in `variables`, which are environment variables."""
    if isinstance(value, dict):
        return {
            key[0].upper() + key[1:]: capitalized(each) if nested and key != "variables" else each
            for key, each in value.items()
        }
    return [capitalized(each) for each in value] if isinstance(value, list) else value
