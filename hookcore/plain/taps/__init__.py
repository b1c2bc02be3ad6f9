"""What is heard from torch and from loggers: hooks and patches, for one run."""
