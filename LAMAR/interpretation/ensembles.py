"""Several fine-tuned classifiers, such as the folds of a run, explained as one: the mean of their logits."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import torch
from transformers.modeling_outputs import SequenceClassifierOutput

from ..checkpoints import LoadReport
from ..errors import InputError

__all__ = ["ClassifierEnsemble", "merge_reports"]

# Fields of the configuration in which the members must agree for the mean of their logits to have a meaning.
_SHARED = ("num_labels", "loss_type")


class _JoinedEmbeddings(torch.nn.Module):
    """The members' embedding tables side by side: (..., sum of the members' dimensions)."""

    def __init__(self, tables: Sequence[torch.nn.Embedding]):
        super().__init__()
        self.tables = torch.nn.ModuleList(tables)

    @property
    def weight(self) -> torch.Tensor:
        return torch.cat([table.weight for table in self.tables], dim=-1)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return torch.cat([table(ids) for table in self.tables], dim=-1)


class ClassifierEnsemble(torch.nn.Module):
    """The mean of the logits of several classifiers, with the interface of one.

    Gradients and integrated gradients are those of the mean logits: the ensemble's embedding of a token is the
    concatenation of the members' embeddings, so each member is followed from its own table.

    Parameters
    ----------
    members : sequence of EsmForSequenceClassification
        Classifiers of one task, at least one.
    names : sequence of str
        Names of the members, for messages.

    Attributes
    ----------
    config
        Configuration of the first member.

    Raises
    ------
    InputError
        For members that differ in their number of outputs or their loss.
    """

    def __init__(self, members: Sequence[torch.nn.Module], names: Sequence[str]):
        super().__init__()
        self.names = tuple(names)
        self.config = members[0].config
        for name, member in zip(names, members):
            for field in _SHARED:
                values = getattr(member.config, field), getattr(self.config, field)
                if values[0] != values[1]:
                    raise InputError(
                        f"`model_path`: found {field} {values[0]} in {name} and {values[1]} in {names[0]}, wanted "
                        "checkpoints of one task"
                    )
        self.members = torch.nn.ModuleList(members)
        self._embeddings = _JoinedEmbeddings([member.get_input_embeddings() for member in members])
        self._widths = [member.get_input_embeddings().embedding_dim for member in members]

    def get_input_embeddings(self) -> torch.nn.Module:
        """Return the joined embedding tables."""
        return self._embeddings

    def forward(self, input_ids=None, attention_mask=None, inputs_embeds=None) -> SequenceClassifierOutput:
        """Return an output whose ``logits``, float32 (batch, K), are the mean over members.

        Parameters
        ----------
        input_ids : Tensor of int64, shape (batch, length), optional
        attention_mask : Tensor, shape (batch, length), optional
        inputs_embeds : Tensor, shape (batch, length, sum of the members' dimensions), optional
            In place of ``input_ids``, as `get_input_embeddings` makes them.
        """
        if inputs_embeds is None:
            outputs = [member(input_ids, attention_mask) for member in self.members]
        else:
            parts = inputs_embeds.split(self._widths, dim=-1)
            outputs = [
                member(inputs_embeds=part, attention_mask=attention_mask) for member, part in zip(self.members, parts)
            ]
        logits = torch.stack([output.logits.float() for output in outputs])
        return SequenceClassifierOutput(logits=logits.mean(0))


def merge_reports(source: str, names: Sequence[str], reports: Sequence[LoadReport]) -> LoadReport:
    """Return one load report of several checkpoints; tensors are named ``MEMBER/TENSOR``.

    ``sha256`` is that of the concatenated digests, as for a sharded checkpoint.
    """
    digest = hashlib.sha256("".join(report.sha256 for report in reports).encode()).hexdigest()
    merged = LoadReport(source=source, sha256=digest, n_parameters=sum(report.n_parameters for report in reports))
    dtypes: Counter[str] = Counter()
    for name, report in zip(names, reports):
        merged.matched += [f"{name}/{tensor}" for tensor in report.matched]
        merged.renamed |= {f"{name}/{tensor}": f"{name}/{model}" for tensor, model in report.renamed.items()}
        merged.left_out |= {f"{name}/{tensor}": reason for tensor, reason in report.left_out.items()}
        dtypes.update(report.dtypes)
    merged.dtypes = dict(dtypes)
    return merged
