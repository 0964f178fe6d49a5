"""Runs the command line as an operator."""

import subprocess
from typing import Any

from tests.helpers.deployed import Deployed


def as_operator(deployed: Deployed, *arguments: str, **expected: Any) -> subprocess.CompletedProcess[str]:
    return deployed.trainq(*arguments, credentials=deployed.operator_credentials, **expected)
