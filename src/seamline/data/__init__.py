"""Datasets: deliveries are checked against a contract and become versions, named by their bytes."""
