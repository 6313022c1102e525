"""Pure numerics on arrays: profiles, contracts, drift, metrics, intervals, checks."""
