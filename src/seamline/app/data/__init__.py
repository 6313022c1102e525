"""Deliveries, versions, contracts and retention of datasets, where other rooms have a word."""
