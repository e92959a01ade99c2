"""Files that are there as a whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile

__all__ = ["replacing"]


@contextlib.contextmanager
def replacing(path):
    """A binary file that takes the place of ``path`` when it is written to its end; until then that one stays."""
    folder, name = os.path.split(os.path.abspath(path))
    handle, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
