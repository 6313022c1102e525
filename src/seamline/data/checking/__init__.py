"""What a delivery has to be: told from the first one, and held to from then on, by batches."""
