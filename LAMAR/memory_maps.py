"""Memory maps that are larger than the memory they may occupy."""

from __future__ import annotations

import mmap

import numpy as np

__all__ = ["RESIDENT_LIMIT_BYTES", "release_pages"]

# Pages of a memory map that may stay in this process's memory while it is read or filled.
RESIDENT_LIMIT_BYTES = 256 * 1024**2


def release_pages(values: np.ndarray) -> None:
    """Release a memory map's pages from this process's memory; no data are lost. Other arrays are left alone.

    Pages that were read or written count as memory of the process until the system needs them elsewhere. A map larger
    than memory would otherwise look like memory in use and exceed a limit on it.

    Parameters
    ----------
    values : np.ndarray or np.memmap
    """
    if isinstance(values.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        values.base.madvise(mmap.MADV_DONTNEED)
