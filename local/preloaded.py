"""What evaluating and deploying the program imports, which takes 1.4 s: `local.forks` does it once for all of them."""

# ruff: noqa: F401
import pulumi_aws as aws

import access
import encryption
import monitoring
import queues
import training_data
import training_lambda
from local import deploy, program

# The SDK loads a service's module when something in it is asked for, which the program does in functions here.
LAZY = (aws.kms.Key, aws.lambda_.Function, aws.sqs.Queue)
