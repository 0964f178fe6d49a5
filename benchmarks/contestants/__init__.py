"""What is measured: each runs in a process of its own, with its settings in the variable BENCH (JSON)."""

import json
import os
from typing import Any

SETTINGS: dict[str, Any] = json.loads(os.environ.get("BENCH", "{}"))
