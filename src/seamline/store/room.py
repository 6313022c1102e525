"""Is it the disk that is full? Each layer that writes says so in words of its own."""

from __future__ import annotations

import errno
import re
import sqlite3

from obstore.exceptions import BaseError
from sqlalchemy.exc import DBAPIError

#: No space, a quota, and a limit on the size of files.
_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
#: What PostgreSQL calls disk_full.
_DISK_FULL = "53100"
_OS_ERROR = re.compile(r"\(os error (\d+)\)")
#: What may be an error of that kind, for those that catch by class.
MAY_BE_FULL: tuple[type[Exception], ...] = (OSError, DBAPIError, BaseError)


def is_out_of_room(error: BaseException) -> bool:
    """Nothing is wrong with what was asked for: there was no room to keep it.

    >>> is_out_of_room(OSError(errno.ENOSPC, "No space left on device"))
    True
    >>> is_out_of_room(OSError(errno.EACCES, "Permission denied")), is_out_of_room(ValueError())
    (False, False)
    """
    if isinstance(error, BaseError):  # obstore keeps the number in its text
        found = _OS_ERROR.search(str(error))
        return found is not None and int(found[1]) in _ERRNOS
    if isinstance(error, OSError):
        return error.errno in _ERRNOS
    if isinstance(error, DBAPIError):
        said = error.orig
        is_full = getattr(said, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        return is_full or getattr(said, "sqlstate", None) == _DISK_FULL
    return False
