"""The stack's region: where it is set, and which ones the program is for."""

import os
import re

import pulumi

# The regions of China, the European Sovereign Cloud and the isolated partitions. In all others the names of services
# end in amazonaws.com, as trust policies, key policies and kms:ViaService have them.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html
OTHER_NAMES = r"(cn|eusc|[a-z]{2}-iso[a-z]?)-.*"


def stack_region() -> str | None:
    """Return the region from the stack's configuration or the environment; None if a profile of AWS's names it."""
    configured = pulumi.Config("aws").get("region")
    return configured or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")


def region_problems(region: str | None) -> list[str]:
    """Return what is wrong with the region, in words."""
    if not region or not re.fullmatch(OTHER_NAMES, region):
        return []
    return [
        f"  aws:region = {region}: allowed are the regions in which all services are called SERVICE.amazonaws.com;"
        " in the others, roles and keys would name services that there are not"
        "\n    fix: pulumi config set aws:region us-east-1"
    ]
