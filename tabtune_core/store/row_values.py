"""The values of the database's rows: ids, conditions, and the check of what another program wrote or damaged."""

import re
import secrets
from typing import TypeVar

from tabtune_core.files.damaged import Damaged
from tabtune_core.files.plain_values import check_fields

Row = TypeVar("Row")


def only(**wanted: str | None) -> tuple[str, tuple[str, ...]]:
    """Returns an SQL condition on columns and its values, written so that an index serves it; None means any value.

    >>> only(sweep="0a", status=None), only(sweep=None)
    (('sweep = ?', ('0a',)), ('TRUE', ()))
    """
    named = {name: value for name, value in wanted.items() if value is not None}
    return " AND ".join(f"{name} = ?" for name in named) or "TRUE", tuple(named.values())


def check_row(row: Row) -> Row:
    """Returns the row unchanged if its fields are valid: SQLite accepts any value in a column.

    Raises:
        Damaged: a field has the wrong type, the process id is below 0, or the id is no name of a folder.
    """
    check_fields(row)
    if not is_folder_name(getattr(row, "id", "a")):
        raise Damaged("id is not a folder name")
    if (getattr(row, "pid", None) or 0) < 0:  # a signal to it would end other processes
        raise Damaged("pid is not a process id")
    return row


def is_folder_name(row_id: object) -> bool:
    """Whether a row's id is a valid folder name; an id that another program wrote might lead out of the workspace.

    >>> is_folder_name(new_id()), is_folder_name("../.."), is_folder_name("")
    (True, False, False)
    """
    return isinstance(row_id, str) and re.fullmatch(r"[\w-]+", row_id) is not None


def new_id() -> str:
    """Returns 12 random hexadecimal digits."""
    return secrets.token_hex(6)
