"""Formats logs as JSON, one object a line."""

import json
import logging
from datetime import UTC, datetime

from trainq.protocol.events import fields_of


class JsonFormatter(logging.Formatter):
    """Formats a record with `time`, `level`, `logger`, `message`, an event's name and fields, and `error`, a traceback.

    `fixed`: fields that are added to every record.
    """

    def __init__(self, **fixed: str) -> None:
        super().__init__()
        self.fixed = fixed

    def format(self, record: logging.LogRecord) -> str:
        about = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **self.fixed,
            **fields_of(record),
        }
        if record.exc_info:
            about["error"] = self.formatException(record.exc_info)
        return json.dumps(about)
