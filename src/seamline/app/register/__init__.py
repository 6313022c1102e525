"""What runs have made becomes packages; what was published is shown, compared and verified."""
