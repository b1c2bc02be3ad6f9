"""How rewritten code comes into a process: by an import, as a script, in place."""
