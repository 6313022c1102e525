"""What is to happen in a run: scopes, their tasks, and where each input comes from."""
