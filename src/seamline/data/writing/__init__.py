"""Typed rows become Parquet files, one day after the other, in bounded memory."""
