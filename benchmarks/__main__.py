"""The command line `python -m benchmarks`."""

import importlib
import signal
import sys
import time

import click

from benchmarks.place import PEERS
from benchmarks.record import keep, load, write_report
from benchmarks.report import report
from benchmarks.tables import TABLES

NAMES = tuple(TABLES)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def benchmarks() -> None:
    """What the program and trainq cost and how fast they are, beside what people would use instead.

    \b
    worker    tasks that do nothing: trainq, Celery, Dramatiq, a bare loop
    dispatch  one job message to all its tasks on the queue; the function's cold start
    growth    planning and sending up to a million tasks, without a network
    latency   submit to running; a worker killed to its task running elsewhere
    program   the Pulumi program under mocks: time, resources, longest chain
    idle      requests of a waiting worker and of the idle stack
    shards    downloads, beside aws s3 cp --recursive

    Each starts an emulator of its own. `make bench` sets up what they need and runs all in the short form.
    """


@benchmarks.command()
@click.argument("names", nargs=-1, type=click.Choice(NAMES))
@click.option("--full", is_flag=True, help="More rounds, and Celery with processes too.")
def run(names: tuple[str, ...], full: bool) -> None:
    """Run the benchmarks NAMES (all of them by default), print their tables and put them into the report."""
    # SIGTERM raises an exception, as Ctrl-C does, so that started processes are ended.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    if not PEERS.exists():
        raise click.ClickException("benchmarks/venv is not there: run 'make benchmarks/venv/.installed' first")
    begun = time.monotonic()
    for name in names or NAMES:
        click.echo(f"{TABLES[name][0]} ...")
        started = time.monotonic()
        found = importlib.import_module(f"benchmarks.{name}").run(full=full)
        keep(name, found, full=full, seconds=time.monotonic() - started)
    results = load()
    results["benchmarks"] = {name: results["benchmarks"][name] for name in names or NAMES}
    click.echo(f"\n{report(results)}\n\n{time.monotonic() - begun:.0f} s in all")
    if set(load()["benchmarks"]) == set(NAMES):
        write_report()


@benchmarks.command(name="report")
def report_() -> None:
    """Write the tables in docs/performance.md and README.md, and the picture, anew from benchmarks/results.json."""
    write_report()


if __name__ == "__main__":
    benchmarks(prog_name="python -m benchmarks")
