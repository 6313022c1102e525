"""What answers a target: batched, by a twin or by many models, for few rows and for many."""
