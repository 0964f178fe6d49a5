"""The function's own parser of S3's listings; tests/emulator/test_function.py compares it with boto3's."""

from typing import Any


def test_a_listing_that_looks_otherwise_is_left_to_boto3(entry: Any) -> None:
    """No object is ever overlooked."""
    known = b"<Contents><Key>datasets/d/1</Key><Size>3</Size></Contents>"
    for other in (
        b"<Contents><Size>3</Size><Key>k</Key></Contents>",
        b"<Contents><Key>a&amp;b</Key><Size>3</Size></Contents>",
    ):
        answer, quick = {"body": known + other}, {}
        entry.parse_listing(response_dict=answer, customized_response_dict=quick)
        assert (answer, quick) == ({"body": known + other}, {})


def test_the_functions_client_parses_listings_so(entry: Any) -> None:
    listing = entry.s3.meta.service_model.operation_model("ListObjectsV2")
    answer = {"body": b"<L><Contents><Key>k</Key><ETag>e</ETag><Size>3</Size></Contents></L>", "status_code": 200}
    event = {"response_dict": answer, "operation_model": listing, "customized_response_dict": {}}
    entry.s3.meta.events.emit("before-parse.s3.ListObjectsV2", **event)
    assert event["customized_response_dict"] == {"Contents": [{"Key": "k", "Size": 3}]}
