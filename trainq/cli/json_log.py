"""Logs as JSON, one object a line, for machines."""

import json
import logging
from datetime import UTC, datetime


class JsonFormatter(logging.Formatter):
    """`time`, `level`, `logger`, `message`, and `error` with a traceback if there is one; besides, what is fixed."""

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
        }
        if record.exc_info:
            about["error"] = self.formatException(record.exc_info)
        return json.dumps(about)
