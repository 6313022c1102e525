"""A full disk, told as what it is, whatever library met it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from seamline.domain.errors import SeamlineError, Unavailable

_NUMBERS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
#: Libraries of other languages tell it in words.
_WORDS = ("no space left", "disk is full", "file too large", "disk quota exceeded")


@contextmanager
def explaining_a_full_disk(what: str) -> Iterator[None]:
    """Raises Unavailable in place of what says that the disk is full; `what` had no room.

    >>> with explaining_a_full_disk("a delivery of dataset flights"):
    ...     raise OSError(errno.ENOSPC, "No space left on device")
    Traceback (most recent call last):
    seamline.domain.errors.Unavailable: There is no room on the disk for a delivery of dataset \
flights; nothing of it was kept. Make room, and do it again.
    """
    try:
        yield
    except SeamlineError:
        raise
    except Exception as error:
        if not _tells_of_a_full_disk(error):
            raise
        raise Unavailable(
            f"There is no room on the disk for {what}; nothing of it was kept.",
            next_step="Make room, and do it again.",
        ) from error


def _tells_of_a_full_disk(error: BaseException | None) -> bool:
    if error is None:
        return False
    if isinstance(error, OSError) and error.errno in _NUMBERS:
        return True
    text = str(error).lower()
    return any(words in text for words in _WORDS) or _tells_of_a_full_disk(error.__cause__)
