"""Peaks, genomes and annotation, and the windows and labelled sets made from them."""
