"""Imports modules and reads files once for all processes of `local.forks`.

These take 1.3 s of the 1.7 s of an evaluation of the program, and 1.0 s of the 1.1 s of a command of `trainq`.
"""

# ruff: noqa: F401
import gc

import boto3
import pulumi_aws as aws

import access
import encryption
import monitoring
import queues
import training_data
import training_lambda
import trainq.cli.errors
from local import deploy, program, provider

for name in trainq.cli.AVAILABLE:
    trainq.cli.trainq.load(name)
# The SDK loads a service's module when something in it is asked for, which the program does in functions here.
LAZY = (aws.kms.Key, aws.lambda_.Function, aws.sqs.Queue, aws.ssm.Parameter)
# boto3's default session keeps the service descriptions that it reads, but neither key nor region.
for service in provider.SERVICES:
    boto3.client(service, region_name="none", aws_access_key_id="none", aws_secret_access_key="none")
# The forks' garbage collector leaves alone what is here: to visit it takes half the time of an evaluation.
gc.freeze()
