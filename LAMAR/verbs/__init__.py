"""The public verbs: one call each to embed, predict, explain and read, with NumPy arrays as results.

They are importable from `LAMAR` (``from LAMAR import embed``). ``model`` is a loaded model or the path of a checkpoint,
which is then loaded for this one call: load a model once, with `load_pretrained` or `load_classifier`, to use it more
than once. Sequences may be in either case, with U or T and with IUPAC ambiguity codes, which count as N. Every verb
runs in batches of similar length under a token budget (`LAMAR.batches`), so that results do not depend on which
sequences are given together, and leaves the model's mode, device and ``requires_grad`` unchanged.

Options that all verbs with a model have:

device : str or torch.device, optional
    None for the model's device, or a GPU where there is one and the model is on the CPU.
token_budget : int, optional
    Tokens per batch, padding included; None chooses by device.
progress : str, optional
    Label of a progress bar; None shows none.
"""
