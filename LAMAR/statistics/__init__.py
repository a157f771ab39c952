"""Metrics, tests, Markov chains and geometry of arrays: numbers in, numbers out."""
