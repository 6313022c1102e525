"""A data plane on another machine: what the control plane gives it, and how it lives there."""
