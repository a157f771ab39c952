"""Sequences, labelled sets, splits, composition and corpora: what every other wing reads."""
