"""The command line: `trainq --help`."""

import sys

import click
from botocore.exceptions import BotoCoreError, ClientError

from trainq.cli.dlq import dlq
from trainq.cli.jobs import cancel, fetch, submit
from trainq.cli.status import draw_timeline, jobs, logs, status
from trainq.cli.upload import upload
from trainq.cli.work import work
from trainq.client.results import FetchError
from trainq.client.upload import DatasetError
from trainq.protocol.markers import MarkerError
from trainq.protocol.messages import MessageError
from trainq.stack import StackError

EXAMPLES = """\b
  pulumi stack output --json > stack.json
  trainq upload corpus/ --dataset corpus
  trainq submit --dataset corpus --parameter order=3 --shards-per-task 4
  trainq work -- python train.py          (on each worker machine)
  trainq status corpus-20261121-184500
  trainq fetch corpus-20261121-184500 results/
"""


class _InOrder(click.Group):
    """Lists commands in the order in which they were added: upload, submit, work, and so on."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_InOrder, epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--stack",
    "stack_file",
    envvar="TRAINQ_STACK",
    default="stack.json",
    show_default=True,
    metavar="SOURCE",
    help="Where the stack's outputs are: a FILE with what 'pulumi stack output --json' prints; env, for variables as "
    "'pulumi stack output --shell' prints them; ssm:NAME, for the stack's parameter. Also: TRAINQ_STACK.",
)
@click.version_option(package_name="trainq")
@click.pass_context
def trainq(ctx: click.Context, stack_file: str) -> None:
    """Submit training jobs to a model-training-queue stack, work on their tasks, fetch the results."""
    ctx.obj = stack_file


for command in (upload, submit, work, status, jobs, logs, fetch, cancel, dlq):
    trainq.add_command(command)
trainq.add_command(draw_timeline, "timeline")


def main() -> None:
    """Run the command line. Print errors that a user can mend as one line, without a traceback."""
    try:
        trainq.main(prog_name="trainq", standalone_mode=False)
    except click.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (
        StackError,
        MessageError,
        DatasetError,
        MarkerError,
        FetchError,
        BotoCoreError,
        ClientError,
        OSError,
    ) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
