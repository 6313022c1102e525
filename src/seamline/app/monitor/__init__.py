"""What was answered, measured."""
