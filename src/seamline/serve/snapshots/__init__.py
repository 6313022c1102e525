"""What an environment serves: signed snapshots, written, found, watched and checked."""
