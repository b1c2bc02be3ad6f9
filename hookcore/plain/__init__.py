"""The adapter for plain PyTorch loops: one host among others."""
