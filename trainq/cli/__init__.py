"""The command line: `trainq --help`."""

import importlib
import sys

import click

from trainq.cli import streams

EXAMPLES = """\b
  pulumi stack output --json > stack.json
  trainq upload corpus/ --dataset corpus
  trainq submit --dataset corpus --parameter order=3 --shards-per-task 4
  trainq work -- python train.py          (on each worker machine)
  trainq status corpus-20261121-184500-5f0c2e
  trainq fetch corpus-20261121-184500-5f0c2e results/
"""


class Commands(click.Group):
    """A group whose commands are imported when they are used: the others' modules would take longer than `--help`.

    `available`: name of each command, in the order in which a user meets them, with its place and a line of help.
    """

    def __init__(self, available: dict[str, tuple[str, str]], **settings: object) -> None:
        super().__init__(**settings)  # ty: ignore[invalid-argument-type]
        self.available = available

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.available)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return self.load(cmd_name) if cmd_name in self.available else None

    def load(self, name: str) -> click.Command:
        """Import a command. Raises KeyError if there is none of this name."""
        module, _, variable = self.available[name][0].partition(":")
        return getattr(importlib.import_module(module), variable)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self.available.items()])


AVAILABLE = {
    "upload": ("trainq.cli.upload:upload", "Upload the files of a folder as a dataset."),
    "submit": ("trainq.cli.jobs:submit", "Submit a job: a dataset, and how to train on it."),
    "work": ("trainq.cli.work:work", "Take tasks from the queue and run a command for each."),
    "status": ("trainq.cli.status:status", "Show how far a job is, and what has failed."),
    "jobs": ("trainq.cli.status:jobs", "List all jobs with their states."),
    "logs": ("trainq.cli.status:logs", "Print the output of a task's attempts."),
    "fetch": ("trainq.cli.jobs:fetch", "Download a job's results."),
    "cancel": ("trainq.cli.jobs:cancel", "Cancel a job, for good."),
    "dlq": ("trainq.cli.dlq:dlq", "Look into the dead letter queues; redrive or drop messages."),
    "timeline": ("trainq.cli.status:draw_timeline", "Draw a job's attempts by worker and time, as SVG or PNG."),
}


@click.command(
    cls=Commands, available=AVAILABLE, epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]}
)
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


def main() -> None:
    """Run the command line. An error is one line, not a traceback."""
    streams.prepare()
    try:
        trainq.main(prog_name="trainq", standalone_mode=False)
    except click.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except Exception as error:
        # Imported only here, since it imports botocore.
        from trainq.cli.errors import report

        sys.exit(report(error))
