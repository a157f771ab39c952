"""Attribution, in-silico mutagenesis, dependency maps and variant effects."""
