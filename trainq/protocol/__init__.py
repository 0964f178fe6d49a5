"""What submitters, the function and workers agree on: messages, keys in the bucket, markers.

Needs only what the function's runtime has: the standard library and boto3. The function's archive carries this room.
"""
