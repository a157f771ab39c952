"""Keras CNNs on embeddings or one-hot sequence (extra ``cnn``); import keras late, through `backend`."""
