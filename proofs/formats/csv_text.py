"""Comma-separated values: cells that are written as floats are values, all other cells have to be equal."""

import csv
import re
from io import StringIO
from typing import Final

from capanode.proofs.formats.contents import MAX_TEXT_BYTES, Contents, Unreadable, floats

_NUMBER: Final = re.compile(
    r"[-+]?(?:(?:[0-9]{1,400}\.[0-9]{0,400}|\.[0-9]{1,400})(?:[eE][-+]?[0-9]{1,5})?|[0-9]{1,400}[eE][-+]?[0-9]{1,5}"
    r"|inf|nan|Infinity|NaN)"
)


def read(data: bytes) -> Contents:
    """The floats of a CSV text, row by row; a cell without a point or an exponent is text.

    Raises:
        Unreadable: not UTF-8, too long, or not CSV.
    """
    if len(data) > MAX_TEXT_BYTES:
        raise Unreadable("it is longer than a text that is read")
    frame: list[str] = []
    numbers: list[float] = []
    try:
        for row in csv.reader(StringIO(data.decode("utf-8"), newline=""), strict=True):
            frame.append(f"row of {len(row)}")
            for cell in row:
                if _NUMBER.fullmatch(cell.strip()):
                    numbers.append(float(cell))
                    frame.append("number")
                else:
                    frame.append(f"={cell}")
    except (ValueError, csv.Error) as error:
        raise Unreadable(f"it is no CSV ({type(error).__name__})") from error
    return Contents((("", floats(numbers)),), tuple(frame))
