"""The protocol between submitters, the function and workers: messages, keys in the bucket, markers.

It imports only the standard library and boto3, as in the function's runtime: the function's archive carries it.
"""
