"""Logs as JSON, one object a line, for machines."""

import json
import logging
from datetime import UTC, datetime

from trainq.protocol.events import fields_of


class JsonFormatter(logging.Formatter):
    """`time`, `level`, `logger`, `message`, what is fixed, an event's name and fields, and `error` with a traceback."""

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
