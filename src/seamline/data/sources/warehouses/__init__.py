"""Warehouses: tables are registered at a pin (a version, a moment) and stay where they are."""
