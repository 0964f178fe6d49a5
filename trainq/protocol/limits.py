"""AWS's limits, each with its page, and our own limits that follow from them."""

# SQS: the size of one message, which is also the limit of a whole batch.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
MAX_MESSAGE_BYTES = 1024 * 1024
MAX_BATCH = 10
MAX_DELAY_SECONDS = 900
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html
MAX_LONG_POLL_SECONDS = 20
# SQS hides a message for 12 h from its receive at most and rejects longer timeouts; 10 s of margin for clocks.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html
MAX_HIDDEN_SECONDS = 12 * 3600 - 10
# S3: https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
MAX_KEY_BYTES = 1024
# https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html (max-keys)
MAX_PAGE = 1_000

# Our own limit: a reason must fit into one log line and into an attribute of the refused message.
MAX_REASON_CHARACTERS = 2_000
