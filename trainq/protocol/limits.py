"""AWS's numbers, each with its page, and those of ours that follow from them."""

# SQS: a message, and a batch of up to ten in all.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
MAX_MESSAGE_BYTES = 1024 * 1024
MAX_BATCH = 10
MAX_DELAY_SECONDS = 900
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html
MAX_LONG_POLL_SECONDS = 20
# A message is never hidden for longer than 12 h from its receive, and SQS refuses to be asked for more.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html
MAX_HIDDEN_SECONDS = 12 * 3600 - 10
# S3: https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
MAX_KEY_BYTES = 1024
# https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html (max-keys)
MAX_PAGE = 1_000

# Ours: a reason goes into one line of a log, and into an attribute of the message that is refused.
MAX_REASON_CHARACTERS = 2_000
