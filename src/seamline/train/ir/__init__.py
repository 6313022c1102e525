"""The compiled file, read: what it says, or why it is refused."""
