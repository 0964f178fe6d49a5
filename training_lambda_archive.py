"""The function's archive: an explicit list of files, so that the same commit gives the same archive on any machine.

`python training_lambda_archive.py` prints the list and a hash of the content.
"""

import hashlib
from importlib import metadata
from pathlib import Path

import pulumi

ROOT = Path(__file__).parent

# Ours. The function and the workers share the definitions of messages and of the bucket's layout.
SOURCES = (
    "lambda_src/__init__.py",
    "lambda_src/dispatch.py",
    "lambda_src/handler.py",
    "lambda_src/isolation.py",
    "lambda_src/messagequeue.py",
    "lambda_src/planning.py",
    "lambda_src/plans.py",
    "lambda_src/sending.py",
    "trainq/__init__.py",
    "trainq/bucket.py",
    "trainq/markers.py",
    "trainq/messages.py",
    "trainq/refusal.py",
    "trainq/strict_json.py",
)

# From the pinned distributions in requirements.txt: the Python files under these paths, as their RECORD lists them.
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


def files() -> dict[str, Path]:
    """Every file of the archive: its name there and where it is on this machine, sorted by name."""
    found = {name: ROOT / name for name in SOURCES}
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
