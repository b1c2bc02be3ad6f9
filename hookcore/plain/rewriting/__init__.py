"""Source to source with sites: what is put into a user's file, and where."""
