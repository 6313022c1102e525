"""Two versions compared: from their profiles, and, where asked for, row by row."""
