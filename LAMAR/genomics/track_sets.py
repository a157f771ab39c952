"""Sets of windows labelled for many tracks, from peaks, sequence and background, with a report."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict
from os import PathLike

import numpy as np
import pandas as pd

from ..data.composition import gc_content
from ..data.corpus_files import corpus_files, read_records
from ..data.kmers import RunIndex
from ..data.tracks import KINDS, PARTS, IdLists, TrackSet
from ..errors import InputError
from .annotation import Annotation
from .genome import SequenceSource
from .site_windows import describe_absent_values, significant, without_values
from .track_background import background_windows, gene_candidates, peak_runs, read_transcripts, transcript_candidates
from .track_windows import TrackOptions, cluster_centers, label_windows, site_windows, track_table

__all__ = ["describe", "make_track_set", "read_excluded"]

_COLUMNS = ["chrom", "start", "end", "strand", "sequence", "part", "kind"]
_LOST_BACKGROUND = ("ambiguous_bases", "near_a_peak", "excluded", "shared_with_another")


def read_excluded(paths: Sequence[str | PathLike], length: int) -> RunIndex | None:
    """Return the runs of ``length`` nt of sequences that must not be trained on; None without files or folders."""
    files = corpus_files(paths, "exclude")
    return RunIndex([record.sequence for file in files for record in read_records(file)], length) if files else None


def make_track_set(
    peaks: pd.DataFrame,
    source: SequenceSource,
    options: TrackOptions,
    *,
    named: Collection[str] = (),
    excluded: RunIndex | None = None,
    transcripts: Sequence[str | PathLike] = (),
    annotation: Annotation | None = None,
) -> tuple[TrackSet, dict]:
    """Return windows labelled for every track, with background windows that no track binds, and a report.

    Parameters
    ----------
    peaks : pandas.DataFrame
        As `LAMAR.genomics.track_windows.read_track_peaks` returns it.
    source : SequenceSource
    options : TrackOptions
    named : collection of str
        RBPs that the user asked for, whose tracks must not be left out.
    excluded : RunIndex, optional
        As `read_excluded` returns it: training windows that share a run with it are left out.
    transcripts : sequence of path
        FASTA files of transcripts to take background windows from.
    annotation : Annotation, optional
        Genes to take background windows from where there are no ``transcripts``; with neither there are none.

    Returns
    -------
    data : TrackSet
        Site windows, then background windows, each sorted by part, chrom, strand and start.
    report : dict
        Plain containers, for JSON; `describe` returns it as text.

    Raises
    ------
    InputError
        No window in a part, a chromosome of the peaks without sequence, a track of ``named`` without training windows,
        no background window.
    """
    is_strong = significant(peaks, options.min_log2fc, options.min_neg_log10_p)
    if not is_strong.any():
        raise InputError(f"`min_log2fc`, `min_neg_log10_p`: none of {len(peaks):,} peaks reaches both, wanted some")
    clusters = cluster_centers(peaks[is_strong], options.cluster)
    windows, dropped = site_windows(clusters, source, options, excluded)
    _require_parts(windows, options)
    tracks = track_table(peaks)
    strong = peaks.loc[is_strong, "track"].value_counts()
    tracks["n_peaks"] = tracks["track"].map(strong).fillna(0).astype(np.int64)
    bound, unknown = label_windows(windows, peaks, tracks, options)
    sites = TrackSet(windows.assign(kind="site")[_COLUMNS], tracks, bound, unknown)
    sites, left_out = _with_enough_windows(sites, options.min_windows, named)
    dropped["of_tracks_left_out"] = len(windows) - len(sites)
    _require_parts(sites.windows, options)
    sites = sites.take(_order(sites.windows))
    report = {
        "options": asdict(options),
        "experiments": int(peaks["accession"].nunique()),
        "peaks": {"read": len(peaks), "below_threshold": int((~is_strong).sum())},
        "peaks_without_value": without_values(peaks),
        "clusters": len(clusters),
        "clusters_lost": dropped,
        "tracks_left_out": left_out,
    }
    background, report["background"] = _background(
        sites, windows, peaks, source, options, excluded, transcripts, annotation
    )
    data = _joined(sites, background).with_part_counts()
    return data, report | _figures(data, options.exclude_run)


def _require_parts(windows: pd.DataFrame, options: TrackOptions) -> None:
    """Refuse a set without site windows in one of its parts."""
    chosen = {"test": options.test_chroms, "dev": options.dev_chroms}
    arguments = {part: f"`{part}_chroms` {','.join(chroms)}" for part, chroms in chosen.items()}
    arguments["train"] = " and ".join(arguments.values())
    for part in PARTS:
        if not windows["part"].eq(part).any():
            present = f"on {', '.join(dict.fromkeys(windows['chrom']))}" if len(windows) else "nowhere"
            raise InputError(f"{arguments[part]}: found no window for {part}, wanted some; windows lie {present}")


def _with_enough_windows(sites: TrackSet, least: int, named: Collection[str]) -> tuple[TrackSet, dict[str, int]]:
    """Return the set without tracks of fewer training windows, and the number of these windows by track.

    Windows that only these tracks bind are left out with them.
    """
    bound = sites.counts(sites.rows("train"))[0]
    few = np.flatnonzero(bound < least)
    for i in few:
        track = sites.tracks.iloc[i]
        if track["target"] in named:
            raise InputError(
                f"`rbps` {track['target']}: found {bound[i]} training windows of track {track['track']} "
                f"({track['n_peaks']} peaks), wanted `min_windows` {least} or more"
            )
    left_out = {sites.tracks["track"].iat[i]: int(bound[i]) for i in few}
    if len(few) == len(bound):
        raise InputError(f"`min_windows` {least}: the largest track has {bound.max()} training windows, wanted more")
    if left_out:
        sites = sites.select_tracks(np.flatnonzero(bound >= least))
        sites = sites.take(np.flatnonzero(sites.bound.lengths > 0))
    return sites, left_out


def _order(windows: pd.DataFrame) -> np.ndarray:
    keys = windows[["chrom", "strand", "start"]].assign(part=windows["part"].map(PARTS.index))
    return keys.reset_index(drop=True).sort_values(["part", "chrom", "strand", "start"], kind="stable").index.to_numpy()


def _background(
    sites: TrackSet,
    windows: pd.DataFrame,
    peaks: pd.DataFrame,
    source: SequenceSource,
    options: TrackOptions,
    excluded: RunIndex | None,
    transcripts: Sequence[str | PathLike],
    annotation: Annotation | None,
) -> tuple[pd.DataFrame, dict]:
    """Return background windows and their counts; no window where there is no source, or none is wanted."""
    if not sum(options.background_windows) or (not transcripts and annotation is None):
        return sites.windows.iloc[:0], {"source": None}
    rng = np.random.default_rng(options.seed)
    lengths = sites.windows["sequence"].str.len().to_numpy()
    if transcripts:
        records = read_transcripts(transcripts, options)
        candidates = transcript_candidates(records, lengths, options, rng)
        described = {"source": "transcripts", "transcripts": len(records)}
    else:
        candidates = gene_candidates(annotation, peaks, source, lengths, options, rng)
        described = {"source": "genes"}
    runs = peak_runs(windows, peaks, source, options.exclude_run)
    background, counts = background_windows(candidates, runs, options, excluded)
    return background.iloc[_order(background)].assign(kind="background"), described | counts


def _joined(sites: TrackSet, background: pd.DataFrame) -> TrackSet:
    """Return one set of the site windows and of background windows, which no track binds."""
    windows = pd.concat([sites.windows, background[_COLUMNS]], ignore_index=True)
    bound, unknown = (
        IdLists(lists.ids, np.append(lists.offsets, np.full(len(background), lists.offsets[-1])))
        for lists in (sites.bound, sites.unknown)
    )
    return TrackSet(windows, sites.tracks, bound, unknown)


def _figures(data: TrackSet, run: int) -> dict:
    """Return sizes, labels, lengths, composition, and what parts share, of a finished set."""
    n_tracks = len(data.tracks)
    sizes = {kind: {part: len(data.rows(part, kind)) for part in PARTS} for kind in KINDS}
    is_site = data.windows["kind"].eq("site").to_numpy()
    lengths = data.windows["sequence"].str.len().to_numpy()
    bound, unknown = data.bound.lengths[is_site], data.unknown.lengths[is_site]
    training = RunIndex(data.windows["sequence"].iloc[data.rows("train")].tolist(), run)
    shared = {
        part: float(training.shares(data.windows["sequence"].iloc[data.rows(part, "site")].tolist()).mean())
        for part in PARTS[1:]
    }
    by_kind = [data.windows["sequence"][chosen].tolist() for chosen in (is_site, ~is_site)]
    return {
        "tracks": n_tracks,
        "targets": int(data.tracks["target"].nunique()),
        "tracks_by_cell": data.tracks["cell"].value_counts().sort_index().to_dict(),
        "windows": len(data),
        "windows_by_kind": sizes,
        "labels_per_site_window": {
            "bound": float(bound.mean()),
            "unknown": float(unknown.mean()),
            "not_bound": float(n_tracks - bound.mean() - unknown.mean()),
        },
        "length": {"median": float(np.median(lengths)), "full": float((lengths == lengths.max()).mean())},
        "gc": {kind: float(gc_content(texts).mean()) for kind, texts in zip(KINDS, by_kind) if texts},
        "sharing_a_run_with_train": shared,
        "training_windows_per_track": _quantiles(data.tracks["train_bound"]),
    }


def _quantiles(values: pd.Series) -> dict[str, float]:
    return {
        name: float(values.quantile(at))
        for name, at in (("least", 0), ("quarter", 0.25), ("half", 0.5), ("three_quarters", 0.75), ("most", 1))
    }


def describe(report: dict) -> str:
    """Return the report as a page of text."""
    options, labels = report["options"], report["labels_per_site_window"]
    cells = ", ".join(f"{number} {cell or 'of no cell line'}" for cell, number in report["tracks_by_cell"].items())
    lines = [report["data"]] if "data" in report else []
    lines += [
        f"{report['tracks']} tracks of {report['targets']} RBPs ({cells}) from {report['experiments']} experiments",
        f"{report['windows']:,} windows of {options['min_length']} to {options['window']} nt",
    ]
    for kind, sizes in report["windows_by_kind"].items():
        lines.append(f"  {kind}: " + ", ".join(f"{part} {size:,}" for part, size in sizes.items()))
    lines.append(
        f"labels of a site window: {labels['bound']:.2f} bound, {labels['not_bound']:.1f} not bound, "
        f"{labels['unknown']:.1f} unknown"
    )
    quantiles = report["training_windows_per_track"].values()
    lines.append(
        "training windows bound of a track (0, 25, 50, 75, 100 %): " + ", ".join(f"{x:,.0f}" for x in quantiles)
    )
    peaks = report["peaks"]
    lines += [
        "",
        f"peaks: {peaks['read']:,} read, {peaks['below_threshold']:,} below the thresholds (unknown labels only)",
    ]
    if absent := describe_absent_values(report.get("peaks_without_value", {}), peaks["read"]):
        lines.append(f"  {absent}")
    lines.append(f"clusters of peaks: {report['clusters']:,}; lost: {_losses(report['clusters_lost'])}")
    left_out = ", ".join(f"{name} ({number})" for name, number in report["tracks_left_out"].items())
    lines.append(f"tracks left out (training windows, below {options['min_windows']}): {left_out or 'none'}")
    background = report["background"]
    if background["source"]:
        lines.append(f"background from {background['source']}: {sum(background['kept'].values()):,} windows")
        lines.append("  wanted: " + ", ".join(f"{part} {number:,}" for part, number in background["wanted"].items()))
        numbers = {key: value for key, value in background.items() if key in _LOST_BACKGROUND}
        lines.append(f"  candidates lost: {_losses(numbers)}")
    else:
        lines.append("background: none")
    length, shared = report["length"], report["sharing_a_run_with_train"]
    lines.append(f"length: median {length['median']:.0f} nt, {length['full']:.1%} of full length")
    lines.append("GC content: " + ", ".join(f"{kind} {value:.3f}" for kind, value in report["gc"].items()))
    lines.append(
        f"site windows that share {options['exclude_run']} nt with a training window: "
        + ", ".join(f"{part} {share:.1%}" for part, share in shared.items())
    )
    return "\n".join(lines) + "\n"


def _losses(counts: dict[str, int]) -> str:
    return ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in counts.items() if n) or "none"
