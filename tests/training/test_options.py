"""LAMAR.training.options: one set of defaults, those that follow from other options, and what a run records."""

from __future__ import annotations

from dataclasses import asdict, fields

import finetune_runs
import pretrain_runs
import pytest

from LAMAR.cli.arguments import parse_or_demo
from LAMAR.errors import InputError
from LAMAR.training.finetuning import finetune
from LAMAR.training.multi_rbp_options import JointOptions
from LAMAR.training.multi_rbp_run import finetune_all_rbps
from LAMAR.training.option_checks import check_numbers
from LAMAR.training.options import FinetuneOptions, FitOptions, TrainerOptions
from LAMAR.training.pretrain_options import PretrainOptions

# What runs recorded before options stood in the library: they must still be resumed.
FINETUNING = """allow_duplicates attention accum_steps batch_size bf16 config cv_folds draws early_stopping_patience
epochs eval_batch_size fp16 freeze_encoder grad_clipping_norm gradient_checkpointing head logging_steps lora_rank loss
lr max_length metric_for_best nlabels pretrain_path report_to save_epochs seed split subsample_neg subsample_pos
test_chroms tokenizer_path truncate warmup_epochs warmup_ratio"""
PRETRAINING = """accum_steps attention batch_size bf16 compile config data_collator_patch decay_ratio eval_steps exclude
exclude_run flash_attention fp16 grad_clipping_norm gradient_checkpointing hidden_size intermediate_size
keep_duplicates logging_steps markov_order mask_rate max_minutes max_steps model_max_length num_attention_heads
num_hidden_layers peak_lr pretrain_path region_rates report_to save_steps schedule seed span_length streaming
token_budget tokenizer_path val_data val_fraction val_mask_rate val_nucleotides warmup_ratio warmup_steps
weight_decay"""


def test_a_run_records_what_earlier_versions_recorded():
    assert set(FinetuneOptions().recorded()) == set(FINETUNING.split())
    assert set(PretrainOptions().recorded()) == set(PRETRAINING.split())


def test_newer_options_are_recorded_where_they_matter():
    recorded = FinetuneOptions(weight_decay=0.1, dev_chroms=["chr2"]).recorded(demo=False)
    assert (recorded["weight_decay"], recorded["dev_chroms"], recorded["demo"]) == (0.1, ("chr2",), False)
    assert "progress" not in recorded


@pytest.mark.parametrize(("runs", "options"), [(finetune_runs, FinetuneOptions()), (pretrain_runs, PretrainOptions())])
def test_flags_have_the_options_names_and_defaults(runs, options):
    flags = vars(runs.script.build_parser().parse_args([]))
    defaults = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(options).items()}
    others = {"data_path", "output_dir", "rbp_name", "overwrite", "resume", "resume_training"}
    assert {name: value for name, value in flags.items() if name not in others} == {
        name: value for name, value in defaults.items() if name != "progress"
    }


@pytest.mark.parametrize("runs", [finetune_runs, pretrain_runs])
def test_both_trainings_have_the_shared_flags(runs):
    flags = vars(runs.script.build_parser().parse_args([]))
    assert {field.name for field in fields(TrainerOptions)} - {"progress"} <= set(flags)


@pytest.mark.parametrize("text", ["", ",", " , "])
@pytest.mark.parametrize("flag", ["--test_chroms", "--dev_chroms"])
def test_chromosomes_of_an_empty_variable_are_refused(flag, text, capsys):
    with pytest.raises(SystemExit) as stopped:
        finetune_runs.script.main(["--data_path", "x", flag, text])
    assert stopped.value.code == 2
    assert f"argument {flag}: found {text!r}, wanted names joined by commas" in capsys.readouterr().err


def test_chromosomes_may_have_spaces_between_them():
    parsed = finetune_runs.script.build_parser().parse_args(["--test_chroms", "chr8, chr9", "--dev_chroms", "chr1"])
    assert (parsed.test_chroms, parsed.dev_chroms) == (["chr8", "chr9"], ["chr1"])


def test_a_fold_is_trained_with_the_options_of_its_run():
    options = FinetuneOptions(epochs=3, bf16=True, lr=0.1, seed=7, metric_for_best="auroc", save_epochs=2)
    assert options.completed("").fit_options("classification", "auprc") == FitOptions(
        epochs=3, bf16=True, lr=0.1, seed=7, metric_for_best="auroc", save_epochs=2
    )
    defaults = FinetuneOptions(freeze_encoder=True).completed("")
    assert defaults.fit_options("regression", "pearson") == FitOptions(task="regression", metric_for_best="pearson")
    assert defaults.model_settings(None, "sdpa").head_lr == 1e-3
    assert FinetuneOptions(freeze_encoder=True, lr=0.5).model_settings(None, "sdpa").head_lr == 0.5
    assert FinetuneOptions(warmup_epochs=2, lr=0.5).model_settings(None, "sdpa").head_lr == 1e-3


def completed(*words: str) -> PretrainOptions:
    """What pretrain.py makes of a command line."""
    flags = vars(parse_or_demo(pretrain_runs.script.build_parser(), ["--data_path", "x", *words], {}))
    return PretrainOptions(**{field.name: flags.get(field.name, True) for field in fields(PretrainOptions)}).completed()


def test_steps_and_warm_up_follow_from_what_is_given():
    def parsed(*more):
        options = completed(*more)
        assert options.completed() == options
        return options.max_steps, options.warmup_steps

    assert parsed() == (10_000, 500)
    assert parsed("--max_steps", "400") == (400, 20)
    assert parsed("--max_steps", "400", "--max_minutes", "5", "--warmup_ratio", "0.1") == (400, 40)
    assert parsed("--max_minutes", "5") == (10_000_000, 500)
    assert parsed("--max_minutes", "5", "--warmup_steps", "7") == (10_000_000, 7)


def test_batch_size_is_a_budget_of_full_windows():
    assert completed("--batch_size", "7", "--model_max_length", "100").token_budget == 700
    assert completed().token_budget == 8192


def test_evaluations_follow_checkpoints_unless_told_otherwise():
    assert completed("--save_steps", "7").eval_steps == 7
    assert completed("--save_steps", "7", "--eval_steps", "3").eval_steps == 3


@pytest.mark.parametrize("chroms", ["chr8", ["chr8"], ("chr8",)])
def test_one_chromosome_as_a_text_is_one_name(chroms):
    assert (
        FinetuneOptions(test_chroms=chroms, dev_chroms="chr1, chr2").recorded()
        == FinetuneOptions(test_chroms=("chr8",), dev_chroms=("chr1", "chr2")).recorded()
    )


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("epochs", 0, "a whole number from 1"),
        ("epochs", -1, "a whole number from 1"),
        ("batch_size", 0, "a whole number from 1"),
        ("cv_folds", 2.5, "a whole number from 1"),
        ("draws", True, "a whole number from 1"),
        ("seed", -1, "a whole number from 0"),
        ("lr", -1.0, "a number above 0"),
        ("lr", "1e-3", "a number above 0"),
        ("lr", float("nan"), "a number above 0"),
        ("warmup_ratio", 1, "a number from 0 up to, not including, 1"),
        ("weight_decay", -0.1, "0 or more"),
    ],
)
def test_numbers_out_of_range_are_refused_before_anything_is_read(name, value, wanted, tmp_path):
    with pytest.raises(InputError) as caught:
        finetune("no/such/data.csv", tmp_path / "runs", **{name: value})
    assert str(caught.value) == f"`{name}`: found {value!r}, wanted {wanted}"
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("max_steps", 0, "a whole number from 1"),
        ("dev_windows", 0.5, "a whole number from 1"),
        ("head_lr", 0.0, "a number above 0"),
    ],
)
def test_numbers_of_the_joint_training_are_checked_alike(name, value, wanted, tmp_path):
    with pytest.raises(InputError) as caught:
        finetune_all_rbps("no/such/folder", tmp_path / "run", **{name: value})
    assert str(caught.value) == f"`{name}`: found {value!r}, wanted {wanted}"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "options", [FinetuneOptions(), PretrainOptions(), JointOptions(), FinetuneOptions(lr=1e-3, subsample_pos=5)]
)
def test_usual_numbers_are_accepted(options):
    check_numbers(options)


def test_a_data_set_is_a_path_or_a_labelled_set(tmp_path):
    with pytest.raises(InputError, match="`dataset`: found list, wanted a path or what read_labelled returns"):
        finetune([], tmp_path)
