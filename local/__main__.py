"""`python -m local --help`."""

import shlex
import signal
import sys
import threading
from pathlib import Path

import click

from local.deploy import deploy
from local.emulator import Emulator
from local.program import ROOT


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def local() -> None:
    """The whole stack on this machine: the Pulumi program deployed into an AWS emulator, IAM and TLS enforced."""
    # A stopped demo or emulator is cleaned up after in the same way, however it is told to stop.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


@local.command()
@click.option(
    "--stack-file", type=click.Path(path_type=Path), default=ROOT / ".local" / "stack.json", show_default=True
)
def up(stack_file: Path) -> None:
    """Keep the stack running until Ctrl-C; print what to export so that trainq and the AWS CLI work with it."""
    stack_file = stack_file.absolute()
    stack_file.parent.mkdir(parents=True, exist_ok=True)
    with Emulator() as emulator:
        deploy(emulator, stack_file)
        click.echo("# The stack is up. In another shell:\n")
        for name, value in {**emulator.environment(), "TRAINQ_STACK": str(stack_file)}.items():
            click.echo(f"export {name}={shlex.quote(value)}")
        click.echo("\n# These are the credentials of the emulator's root account. Ctrl-C ends it; nothing is kept.")
        sys.stdout.flush()
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            click.echo("stopping", err=True)
        finally:
            stack_file.unlink(missing_ok=True)


@local.command()
def demo() -> None:
    """Train a model through the stack, with a worker killed on the way. Takes about a minute."""
    from local import demo

    try:
        demo.run()
    except demo.Failed as error:
        raise click.ClickException(f"this does not hold: {error}") from None
    except KeyboardInterrupt:
        raise click.Abort from None


if __name__ == "__main__":
    local(prog_name="python -m local")
