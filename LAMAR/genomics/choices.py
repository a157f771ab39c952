"""Choices of the functions that cut windows and make labelled sets; import-light, so that parsers can list them."""

from __future__ import annotations

__all__ = ["CENTERS", "GROUPS", "SAMPLING"]

#: Rules that draw windows (`LAMAR.genomics.windows.WindowRule`).
SAMPLING = ("default", "doc")
#: Windows that a division keeps together, and what one such group is called (`LAMAR.genomics.divide_windows`).
GROUPS = {"none": "window", "chrom": "chromosome", "region": "group of overlapping regions"}
#: Centres of windows on peaks (`LAMAR.genomics.site_windows.center_windows`).
CENTERS = ("middle", "five_prime", "summit")
