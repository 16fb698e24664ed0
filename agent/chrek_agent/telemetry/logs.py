"""The agent's own log, as text or as JSON, and how many of CRIU's logs are kept."""

import json
import logging
import shutil
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

KEPT: Final = 10
FIELDS: Final = "fields"
"""Name of the `extra` that holds a record's own fields: `LOG.info("restored", extra={FIELDS: {"pod": ...}})`."""


class JsonFormatter(logging.Formatter):
    """One JSON object for each line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's time, level, logger and message, and its own fields."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update(getattr(record, FIELDS, {}))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure(style: Literal["text", "json"], *, verbose: bool) -> None:
    """Sets up the root logger, on standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if style == "json" else logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler], force=True)


def prune(work: Path, keep: int = KEPT) -> None:
    """Removes all but the newest of CRIU's work directories: those of failures stay behind, with their logs."""
    with suppress(OSError):
        found = sorted((path for path in work.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in found[keep:]:
            shutil.rmtree(path, ignore_errors=True)
