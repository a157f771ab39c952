"""The run of ``finetune_scripts/predict_rbp.py``: its arguments checked and completed, the library called."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from ..errors import InputError, shortened
from ..shipped_weights import shipped_weights
from .demo import NOTICE

__all__ = ["SOURCES", "predict"]

TOP = 10  # sites of a track and record where a model has no calibration
ALL = "all"  # in place of a file of transcripts
SOURCES = ("fasta", "bed", "transcripts", "table", "vcf")
# Arguments that say nothing about variants.
_OF_RECORDS = ("stride", "top", "both_strands", "family", "bedgraph", "bigwig", "matrix", "explain")


def predict(arguments: argparse.Namespace) -> None:
    """Predict the records of the command line, and print what a user wants to see first.

    Raises
    ------
    InputError
        For arguments that do not fit together, and what the library refuses.
    """
    _complete(arguments)
    from ..prediction.predictor import Predictor
    from ..prediction.scanning import positive_columns
    from .interpretation import load_explained, run_record, taken

    model, report, collapsed = load_explained(arguments.model_path)
    if arguments.list:
        print("\n".join(positive_columns(model)[0]))
        return
    top = arguments.top
    if top is None and arguments.calibrate_on is None and getattr(model, "calibration", None) is None:
        top = TOP
    options = taken(arguments, ("rbps", "tile", "stride", "prior", "device", "token_budget", "bf16"))
    predictor = Predictor(model, top=top, max_p=1.0 if top else arguments.q, **options)
    record = run_record(arguments, _inputs(arguments), report.sha256, collapsed)
    print((_predict_records if arguments.vcf is None else _predict_variants)(arguments, predictor, record))


def _predict_records(arguments: argparse.Namespace, predictor, record) -> str:
    """Predict records, and return the lines that end the run."""
    from ..prediction.run import Outputs, predict_records

    with ExitStack() as stack:
        source = _Source(arguments, stack)
        outputs = Outputs(
            q=arguments.q,
            family=arguments.family,
            bedgraph=arguments.bedgraph,
            bigwig=bool(arguments.bigwig),
            matrix=bool(arguments.matrix),
            explain=arguments.explain or 0,
            sizes=source.sizes,
            notice=NOTICE if arguments.demo else "",
        )
        outcome = predict_records(
            source.records(),
            predictor,
            arguments.output_dir,
            record,
            outputs,
            background=_background(arguments),
            n_nucleotides=source.n_nucleotides,
        )
    return _closing(outcome, arguments)


def _predict_variants(arguments: argparse.Namespace, predictor, record) -> str:
    """Score variants, and return the lines that end the run."""
    from ..interpretation.variant_windows import load_variants
    from ..prediction.variant_run import predict_variants

    genes_of = choose = None
    if arguments.gtf is not None:
        from ..genomics.annotation import read_gtf
        from ..prediction.variants import GeneStrands

        choose = GeneStrands(read_gtf(arguments.gtf), arguments.strand)
        genes_of = choose.genes_of
    strand = "both" if choose is not None else arguments.strand
    placed, left_out = load_variants(arguments.vcf, arguments.genome, strand, predictor.options.tile, choose)
    outcome = predict_variants(
        placed,
        left_out,
        predictor,
        arguments.output_dir,
        record,
        genes_of=genes_of,
        background=_background(arguments),
    )
    lines = [f"variants: {outcome.n_variants:,}, each on one strand; left out: {outcome.n_left_out:,}"]
    for window, track, change in outcome.strongest:
        one = window.variant
        lines.append(f"  {one.chrom}:{one.pos} {one.ref}>{one.alt} ({one.strand}): {track} {change:+.3f}")
    return "\n".join([*lines, f"outputs: {arguments.output_dir}"])


def _background(arguments: argparse.Namespace):
    """Return the `LAMAR.prediction.background.Background` of the command line, or None."""
    from ..prediction.background import Background

    path = arguments.calibrate_on
    return None if path is None else Background(path, is_single=arguments.vcf is not None)


def _inputs(arguments: argparse.Namespace) -> list[Path]:
    """Return the files that the run reads."""
    values = (getattr(arguments, name) for name in (*SOURCES, "genome", "gtf", "calibrate_on"))
    return [value for value in values if value is not None and str(value) != ALL]


def _complete(arguments: argparse.Namespace) -> None:
    """Fill in defaults, and refuse what cannot work before anything heavy is imported."""
    _check_sources(arguments)
    if arguments.vcf is None and arguments.family is None:
        arguments.family = "track"
    if arguments.demo and not arguments.list and arguments.model_path is not None:
        raise InputError("`fasta`: not given, wanted records to predict (or `bed`, `transcripts` or `table`)")
    if arguments.model_path is None:
        arguments.model_path = shipped_weights("lamar-mini-rbp", "model_path")
    if arguments.demo and not arguments.list:
        from .demo import demo_data

        print(NOTICE)
        arguments.fasta = demo_data() / "transcripts.fa"
    if arguments.output_dir is None and not arguments.list:
        raise InputError("`output_dir`: not given, wanted a folder for the results")


def _check_sources(arguments: argparse.Namespace) -> None:
    """Refuse sources without what they need, and arguments that do not go with them."""
    genomic = [name for name in ("bed", "transcripts", "vcf") if getattr(arguments, name) is not None]
    if genomic and arguments.genome is None:
        raise InputError(f"`genome`: not given, wanted the FASTA file that `{genomic[0]}` refers to")
    if not genomic and arguments.genome is not None:
        raise InputError("`genome`: given, but it goes with `bed`, `transcripts` or `vcf`")
    if arguments.vcf is None:
        if (arguments.transcripts is None) != (arguments.gtf is None):
            raise InputError("`transcripts` and `gtf`: found one of them, wanted both")
        if arguments.strand is not None:
            raise InputError("`strand`: given, but it goes with `vcf`")
        return
    if arguments.gtf is None and arguments.strand is None:
        raise InputError("`gtf`, `strand`: not given, wanted the genes that variants lie in, or a strand")
    for name in _OF_RECORDS:
        if getattr(arguments, name):
            raise InputError(f"`{name}`: given, but it does not go with `vcf`")


class _Source:
    """The records of the command line, read once to see that they can be and how many nucleotides they have.

    Attributes
    ----------
    n_nucleotides : int
    sizes : dict of int, optional
        Lengths of the genome's contigs by name.
    """

    def __init__(self, arguments: argparse.Namespace, stack: ExitStack):
        """``stack`` closes the genome."""
        from ..prediction import records

        self._strands = 2 if arguments.both_strands else 1
        self.sizes = None
        if arguments.fasta is not None:
            from ..data.sequences import read_fasta

            self._open = lambda: records.fasta_records(arguments.fasta)
            n_nucleotides = sum(len(sequence) for _, sequence in read_fasta(arguments.fasta))
        elif arguments.table is not None:
            table = list(records.table_records(arguments.table, arguments.sequence_column))
            self._open = lambda: table
            n_nucleotides = sum(len(record.sequence) for record in table)
        else:
            from ..genomics.genome import open_genome
            from ..prediction.bed_places import bed_places

            if arguments.bed is not None:
                places = bed_places(arguments.bed)
            else:
                places = records.transcript_places(_transcript_names(arguments.transcripts), arguments.gtf)
            genome = stack.enter_context(open_genome(arguments.genome))
            self.sizes = dict(zip(genome.contigs["chrom"], genome.contigs["end"].tolist()))
            self._open = lambda: records.genomic_records(places, genome)
            n_nucleotides = sum(len(place) for _, place in places)
        self.n_nucleotides = n_nucleotides * self._strands

    def records(self) -> Iterator:
        """Return the records, on both strands if asked for."""
        from ..prediction.records import both_strands, without_repeats

        found = self._open()
        return without_repeats(both_strands(found) if self._strands == 2 else found)


def _transcript_names(argument: str | Path) -> list[str] | None:
    """Return the ids in a file, one per line, or None for `ALL`."""
    if str(argument) == ALL:
        return None
    from ..data.text_files import open_text, read_lines

    with open_text(argument) as handle:
        names = [line.split()[0] for _, line in read_lines(handle, argument) if not line.startswith("#")]
    if not names:
        raise InputError(f"`transcripts`: {argument}: found no name, wanted one transcript id per line")
    return names


def _closing(outcome, arguments: argparse.Namespace) -> str:
    """Return the lines that end a run."""
    records = f"{outcome.n_records:,} record{'s' * (outcome.n_records != 1)}"
    lines = [f"{records}, {outcome.n_nucleotides:,} nt, {outcome.n_tiles:,} tiles"]
    if outcome.n_skipped:
        lines.append(f"{outcome.n_skipped:,} nt in runs of N were not predicted")
    ranked = sorted(outcome.sites_by_track.items(), key=lambda item: (-item[1], item[0]))
    most = [f"{name} {n:,}" for name, n in ranked if n]
    lines.append(f"sites: {outcome.n_sites:,}{f' ({shortened(most, 8)})' if most else ''}")
    lines += outcome.remarks
    lines.append(f"outputs: {arguments.output_dir}")
    return "\n".join(lines)
