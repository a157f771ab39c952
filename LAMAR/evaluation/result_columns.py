"""Columns of the tables that an evaluation run writes and its report reads."""

UNIT = ("dataset", "representation", "variant", "layer", "pooling", "split", "repeat")
METRICS = ("accuracy", "auroc", "auprc", "f1", "mcc")
SIZES = ("n_train", "n_test", "n_parameters", "seconds")
COLUMNS = (*UNIT, *METRICS, *SIZES, "chosen")  # of results.csv

PREDICTED_UNIT = ("dataset", "representation", "variant", "layer", "repeat")
PREDICTION_COLUMNS = (*PREDICTED_UNIT, "id", "label", "probability")  # of predictions.csv
