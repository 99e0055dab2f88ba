"""What can go wrong below the steps of reading, in the words of a person who has a file.

Beside the whole of reading: no error of DuckDB, Arrow or the system reaches a person as it is.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
import pyarrow as pa

from tabtune_core.errors import TableError

FULL = (errno.ENOSPC, errno.EDQUOT)
"""Of our own disk, not the file's fault."""


@contextmanager
def translated() -> Iterator[None]:
    """Raises TableError for what DuckDB, Arrow and the system say of a file that is read inside; OSError where the disk is full."""
    try:
        yield
    except (duckdb.OutOfMemoryException, pa.ArrowMemoryError, MemoryError) as error:
        raise TableError("The table needs more memory than reading may take. Take a sample of the rows, or leave out columns.") from error
    except RuntimeError as error:
        if "interrupted" in str(error):  # DuckDB says so where a person pressed Ctrl-C
            raise KeyboardInterrupt from error
        raise
    except duckdb.Error as error:
        if os.strerror(errno.ENOSPC).lower() in str(error).lower():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        raise TableError("The file cannot be read as a table. Open it in the program that wrote it, and save it again as CSV.") from error
    except OSError as error:
        if error.errno in FULL:
            raise
        reason = error.strerror or "reason unknown"
        raise TableError(
            f"The file could not be read to its end ({reason}). Check that it is whole and that no program changes it."
        ) from error
