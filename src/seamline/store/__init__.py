"""Rows, facts, blobs and tables: everything that must survive a kill -9."""
