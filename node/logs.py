"""The node's log: one event name and its fields a line, on standard error."""

import logging
import sys
from contextlib import suppress
from typing import Final, TextIO, cast

import structlog

from capanode.node.config import LogSettings

_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class _StandardError:
    """Standard error as it is when something is written: a process may exchange it.

    What cannot be written (a full disk behind it) is lost; the work that it tells of goes on.
    """

    def write(self, text: str) -> int:
        with suppress(OSError):
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            sys.stderr.flush()


def open_log(settings: LogSettings) -> None:
    """Send structlog, and what libraries say from warnings up, to standard error; once, at the start."""
    is_console = settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty())
    level = _LEVELS[settings.level]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer() if is_console else structlog.processors.JSONRenderer(default=str),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _StandardError())),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(
        level=max(level, logging.WARNING), stream=sys.stderr, format="%(levelname)s %(name)s %(message)s"
    )
