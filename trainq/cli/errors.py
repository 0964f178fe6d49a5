"""What the command line says of an exception, and the exit status that it ends with."""

import os
import sys
import traceback

import click
from botocore.exceptions import BotoCoreError, ClientError

from trainq.client.results import FetchError
from trainq.client.upload import DatasetError
from trainq.protocol.events import one_line
from trainq.protocol.markers import MarkerError
from trainq.protocol.messages import MessageError
from trainq.stack import StackError

# Exceptions whose text says what is wrong and how to mend it.
EXPECTED = (StackError, MessageError, DatasetError, MarkerError, FetchError, BotoCoreError, ClientError, OSError)
# EX_SOFTWARE of sysexits.h.
UNEXPECTED_STATUS = 70


def report(error: Exception) -> int:
    """Print the error on stderr, in one line, and return the exit status: 1, or 70 for an unexpected one.

    With TRAINQ_DEBUG set, print the traceback, too.
    """
    if os.environ.get("TRAINQ_DEBUG"):
        traceback.print_exception(error, file=sys.stderr)
    if isinstance(error, EXPECTED):
        click.echo(f"Error: {one_line(str(error))}", err=True)
        return 1
    click.echo(
        f"Error: unexpected {type(error).__name__}: {one_line(str(error))} (TRAINQ_DEBUG=1 shows where)", err=True
    )
    return UNEXPECTED_STATUS
