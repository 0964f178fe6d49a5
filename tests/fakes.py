"""Stand-ins for S3 and SQS, under their former path until every test module has moved."""

from local.standins import FakeS3, FakeSqs, context, error, fake_stack

__all__ = ["FakeS3", "FakeSqs", "context", "error", "fake_stack"]
