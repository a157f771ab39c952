"""Training on a GPU: losses fall, figures are those of the CPU, interrupted runs resume exactly, processes share it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from finetune_runs import table
from gpu_runs import FINETUNING, IS_REHEARSAL, NOTES, finetuned, pick
from pretrain_runs import SHAPE, Killed, arguments, log, make_corpus, run, same_run, script, start
from track_sets import write_small_set

from LAMAR.training import masked_training, multi_rbp
from LAMAR.training.multi_rbp_run import finetune_all_rbps

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("name", FINETUNING)
def test_finetuning(name, motif_set, cpu_figures, tmp_path, needs):
    if name == "fp16" and IS_REHEARSAL:
        pytest.skip("fp16 training needs a CUDA device")
    if name == "LoRA":
        needs("peft")
    result = finetuned(motif_set, tmp_path, name)
    first, last = np.mean(result["losses"][:4]), np.mean(result["losses"][-4:])
    wanted = cpu_figures[FINETUNING[name][1]]
    NOTES.append(
        f"fine-tuning, {name}: loss {first:.3f} to {last:.3f}, test AUROC {result['auroc']:.3f} (CPU {wanted:.3f})"
    )
    assert np.isfinite(result["losses"]).all()
    assert last < first
    # The same batches, rounded otherwise: what two seeds differ by, and a standard error on so few windows.
    assert result["auroc"] == pytest.approx(wanted, abs=0.1)


# ------------------------------------------------------------------------------------------------- pre-training

MODEL = pick(["--config", "lamar-mini"], SHAPE)
PRETRAINING = ["--max_steps", pick(24, 9), "--save_steps", pick(8, 3), "--eval_steps", 100, "--token_budget", 1400]
PRETRAINING += pick(["--peak_lr", 1e-3, "--warmup_steps", 4], [])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpus"))


def stop_after(monkeypatch, step: int) -> None:
    """Let pre-training end at this step as if it were killed."""
    original = masked_training._Keeper.on_step_end

    def stop(self, args, state, control, **kwargs):
        if state.global_step == step:
            raise Killed
        return original(self, args, state, control, **kwargs)

    monkeypatch.setattr(masked_training._Keeper, "on_step_end", stop)


@pytest.mark.parametrize("precision", ["float32", "bf16", "fp16"])
def test_pretraining_resumes_exactly(precision, corpus, tmp_path, monkeypatch, deterministic):
    if precision == "fp16" and IS_REHEARSAL:
        pytest.skip("fp16 training needs a CUDA device")
    options = [*PRETRAINING, *([] if precision == "float32" else [f"--{precision}"])]
    results = run(corpus, tmp_path / "whole", *options, shape=MODEL)
    with monkeypatch.context() as patched:
        stop_after(patched, pick(13, 5))
        with pytest.raises(Killed):
            script.main(arguments(corpus, tmp_path / "resumed", *options, shape=MODEL))
    assert not (tmp_path / "resumed" / "model.safetensors").exists()
    run(corpus, tmp_path / "resumed", *options, shape=MODEL)
    assert json.loads((tmp_path / "resumed" / "run.json").read_text())["starts"] == 2
    losses = [float(row["train_loss"]) for row in log(tmp_path / "whole")]
    NOTES.append(
        f"pre-training, {precision}: loss {losses[0]:.4f} to {losses[-1]:.4f}, {results['tokens_per_s']:.0f} tokens/s"
    )
    assert losses[-1] < losses[0]
    assert same_run(tmp_path / "whole", tmp_path / "resumed")


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_joint_training_resumes_exactly(precision, tmp_path, monkeypatch, deterministic):
    data = write_small_set(tmp_path / "tracks")
    steps, stop = pick((16, 9), (6, 4))
    options = {"config": pick("lamar-mini", "lamar-tiny"), "head_channels": pick(64, 8), "batch_size": 16}
    options |= {"max_steps": steps, "warmup_steps": 2, "eval_steps": steps // 2, "save_steps": 3}
    options |= {"bf16": precision == "bf16"}
    results = finetune_all_rbps(data, tmp_path / "whole", **options)
    taken, step = [], multi_rbp._Run._step
    with monkeypatch.context() as patched:

        def stopping(self):
            taken.append(self.state.step)
            if self.state.step == stop:
                raise Killed
            return step(self)

        patched.setattr(multi_rbp._Run, "_step", stopping)
        with pytest.raises(Killed):
            finetune_all_rbps(data, tmp_path / "resumed", **options)
    assert taken == list(range(stop + 1))
    finetune_all_rbps(data, tmp_path / "resumed", **options)
    losses = [float(row["train_loss"]) for row in table(tmp_path / "whole" / "log.csv")]
    NOTES.append(f"joint training, {precision}: loss {losses}, {results['windows_per_s']:.0f} windows/s")
    assert losses[-1] < losses[0]
    files = [tmp_path / name / "model.safetensors" for name in ("whole", "resumed")]
    assert files[0].read_bytes() == files[1].read_bytes()


# Without --standalone it would want a fixed port, which another program may have.
TWO = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")


def test_two_processes_share_a_gpu(corpus, tmp_path, monkeypatch):
    """They train what one process trains in two batches a step, over gloo: NCCL refuses two processes on one GPU."""
    if torch.cuda.device_count() > 1:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    if Path("/sys/class/net/lo").exists():
        monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")  # the name of the machine may have no address
    options = ["--max_steps", pick(10, 4), "--save_steps", 100]
    process = start(corpus, tmp_path / "two", *options, launcher=TWO)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    run(corpus, tmp_path / "one", *options, "--accum_steps", 2)
    for one, two in zip(*(log(tmp_path / name) for name in ("one", "two")), strict=True):
        assert (one["step"], one["tokens"]) == (two["step"], two["tokens"])
        assert float(one["train_loss"]) == pytest.approx(float(two["train_loss"]), abs=1e-3)
    figures = [json.loads((tmp_path / name / "eval_results.json").read_text()) for name in ("one", "two")]
    assert figures[0]["loss"] == pytest.approx(figures[1]["loss"], abs=1e-3)
    NOTES.append(f"two processes: validation loss {figures[1]['loss']:.5f}, one process {figures[0]['loss']:.5f}")
