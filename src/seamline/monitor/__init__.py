"""Monitor: measure what is served, window by window of event time; raise alarms."""
