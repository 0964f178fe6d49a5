"""The command `trainq upload`."""

from pathlib import Path

import click

from trainq.cli.progress import shown_progress
from trainq.cli.shared import printable
from trainq.client import upload as uploading
from trainq.protocol.layout import DATASETS
from trainq.stack import Stack


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--dataset", "name", required=True, metavar="NAME", help="What the dataset is called: datasets/NAME/.")
@click.pass_obj
def upload(stack_file: str, folder: Path, name: str) -> None:
    """Upload the files below DIR as a dataset, one shard a file.

    What is there already with the same content is not sent again, so that an interrupted upload goes on where it
    stopped. Hidden files are shards too, and links to files are followed; anything else that is neither a file nor a
    folder is refused.
    """
    stack = Stack.load(stack_file)
    with shown_progress("comparing", None) as advance:
        plan = uploading.plan_upload(stack, folder, name, advance)
    with shown_progress("uploading", len(plan.to_send)) as advance:
        uploading.send(stack, plan, advance)
    click.echo(
        f"{len(plan.to_send):,} shards uploaded, {plan.unchanged:,} were there already: "
        f"s3://{stack.bucket_name}/{plan.prefix}"
    )
    if plan.others:
        click.echo(
            f"note: {len(plan.others):,} other objects under this prefix are part of the dataset too, "
            f"such as {printable(plan.others[0])}; remove what should not be with: aws s3 rm",
            err=True,
        )
    click.echo(f"next: trainq submit --dataset {plan.prefix.removeprefix(DATASETS).strip('/')}")
