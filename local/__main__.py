"""The command line `python -m local`."""

import shlex
import signal
import sys
import threading
from pathlib import Path

import click

from local import corpus
from local.deploy import deploy
from local.emulator import Emulator


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def local() -> None:
    """The whole stack on this machine: the Pulumi program deployed into an AWS emulator, IAM and TLS enforced."""
    # SIGTERM raises an exception, as Ctrl-C does, so that the same clean-up runs.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


@local.command()
def up() -> None:
    """Keep the stack running until Ctrl-C; print what to export so that trainq and the AWS CLI work with it."""
    with Emulator() as emulator:
        stack_file = emulator.folder / "stack.json"
        deploy(emulator, stack_file)
        click.echo("# The stack is up. In another shell:\n")
        for name, value in {**emulator.environment(), "TRAINQ_STACK": str(stack_file)}.items():
            click.echo(f"export {name}={shlex.quote(value)}")
        click.echo(f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH")
        click.echo(
            "\n# The key is of this run, and of the account's root, whom no policy limits. The emulator takes only what"
        )
        click.echo(
            "# is signed by it or by a role's: keep it to yourself, since functions run as you. Timeouts are short: see"
        )
        click.echo("# Pulumi.local.yaml. Ctrl-C ends it; nothing is kept.")
        sys.stdout.flush()
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            click.echo("stopping", err=True)


@local.command()
@click.option("--shards", type=click.IntRange(corpus.HELD_OUT), default=corpus.SHARDS, help="how many to train on")
def demo(shards: int) -> None:
    """Train a model through the stack, with a worker killed on the way. Takes about a minute."""
    from local import demo

    try:
        demo.run(shards)
    except demo.Failed as error:
        raise click.ClickException(f"this does not hold: {error}") from None
    except KeyboardInterrupt:
        raise click.Abort from None


if __name__ == "__main__":
    local(prog_name="python -m local")
