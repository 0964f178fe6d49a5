"""Makes the function's archive from listed paths only: a commit gives the same archive on every machine.

`python training_lambda_archive.py` prints the list and a hash of the content.
"""

import hashlib
from importlib import metadata
from pathlib import Path

import pulumi

ROOT = Path(__file__).parent

# Our files: the function, and the protocol that it shares with submitters and workers.
ROOMS = ("lambda_src/*.py", "trainq/protocol/*.py", "trainq/__init__.py")

# From the pinned distributions in requirements.in: the Python files under these paths that their RECORD lists.
DISTRIBUTIONS = {
    "aws-lambda-powertools": (
        "aws_lambda_powertools/__init__.py",
        "aws_lambda_powertools/package_logger.py",
        "aws_lambda_powertools/exceptions/",
        "aws_lambda_powertools/logging/",
        "aws_lambda_powertools/metrics/",
        "aws_lambda_powertools/middleware_factory/",
        "aws_lambda_powertools/shared/",
        "aws_lambda_powertools/tracing/",
        "aws_lambda_powertools/utilities/__init__.py",
        "aws_lambda_powertools/utilities/jmespath_utils/",
        "aws_lambda_powertools/warnings/",
    ),
    "jmespath": ("jmespath/",),
    "typing-extensions": ("typing_extensions.py",),
}


def sources() -> list[str]:
    """Return the names of our files, sorted."""
    return sorted(path.relative_to(ROOT).as_posix() for room in ROOMS for path in ROOT.glob(room))


def files() -> dict[str, Path]:
    """Return every file of the archive, sorted: its name in the archive, and its path on this machine."""
    found = {name: ROOT / name for name in sources()}
    for distribution, paths in DISTRIBUTIONS.items():
        recorded = metadata.files(distribution)
        if not recorded:
            raise RuntimeError(f"{distribution} is installed without a list of its files: install it with pip")
        for file in recorded:
            name = file.as_posix()
            if name.startswith(paths) and name.endswith(".py"):
                found[name] = Path(str(file.locate()))
    return dict(sorted(found.items()))


def archive() -> pulumi.AssetArchive:
    """Return the archive for Pulumi, which compares names and contents, not times."""
    return pulumi.AssetArchive({name: pulumi.FileAsset(str(path)) for name, path in files().items()})


def content_hash() -> str:
    """Return the SHA-256 of the sorted names and the contents."""
    digest = hashlib.sha256()
    for name, path in files().items():
        digest.update(f"{name}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    print("\n".join(files()))
    print(f"sha256 {content_hash()}")
