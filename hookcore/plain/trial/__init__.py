"""A script tried out for a few steps, in a process that ends in the middle of the training.

The parent's side, with the copy of the folder and the clock, is :mod:`hookcore.scratch`.
"""
