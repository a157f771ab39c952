"""Parts that scripts share: parsers, errors in one line, log messages, the demo set."""
