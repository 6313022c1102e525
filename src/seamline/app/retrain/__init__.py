"""From an alarm to a release."""
