"""What the data plane answers per second, beside bare floors."""
