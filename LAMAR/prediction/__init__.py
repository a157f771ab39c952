"""Prediction on long RNA: tiles, profiles along records, sites, tables and tracks."""
