"""What scripts share: parsers, errors in one line, the demo set."""
