"""The function's archive: named rooms and named paths, so that the same commit gives the same archive on any machine.

`python training_lambda_archive.py` prints the list and a hash of the content.
"""

import hashlib
from importlib import metadata
from pathlib import Path

import pulumi

ROOT = Path(__file__).parent

# Ours: the function, and what it agrees on with submitters and workers.
ROOMS = ("lambda_src/*.py", "trainq/protocol/*.py", "trainq/__init__.py")

# From the pinned distributions in requirements.in: the Python files under these paths, as their RECORD lists them.
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
    """Every file of the archive: its name there and where it is on this machine, sorted by name."""
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
    """What Pulumi uploads; it hashes names and contents, not times."""
    return pulumi.AssetArchive({name: pulumi.FileAsset(str(path)) for name, path in files().items()})


def content_hash() -> str:
    """SHA-256 over the sorted names and the contents."""
    digest = hashlib.sha256()
    for name, path in files().items():
        digest.update(f"{name}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    print("\n".join(files()))
    print(f"sha256 {content_hash()}")
