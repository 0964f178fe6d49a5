"""The programs that are measured. Each runs in a process of its own, with its settings as JSON in BENCH."""

import json
import os
from typing import Any

SETTINGS: dict[str, Any] = json.loads(os.environ.get("BENCH", "{}"))
