"""Downloads objects as a worker does."""

from pathlib import Path

from benchmarks.contestants import SETTINGS
from trainq.stack import CONFIG, new_client
from trainq.transfers import download

if __name__ == "__main__":
    folder = Path(SETTINGS["folder"])
    download(
        new_client("s3", "us-east-1", CONFIG),
        SETTINGS["bucket"],
        [(key, folder / key) for key in SETTINGS["keys"]],
    )
