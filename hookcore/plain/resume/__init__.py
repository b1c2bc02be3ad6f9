"""What a checkpoint takes of a loop, and how a loop is put back to it."""
