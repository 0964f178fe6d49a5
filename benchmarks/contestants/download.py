"""Downloads objects as a worker does."""

from pathlib import Path

from benchmarks.contestants import SETTINGS
from trainq import transfer
from trainq.stack import CONFIG, new_client

if __name__ == "__main__":
    folder = Path(SETTINGS["folder"])
    transfer.download(
        new_client("s3", "us-east-1", CONFIG),
        SETTINGS["bucket"],
        [(key, folder / key) for key in SETTINGS["keys"]],
    )
