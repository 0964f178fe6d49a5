"""The message processor: a Lambda function that turns training messages into tasks."""
