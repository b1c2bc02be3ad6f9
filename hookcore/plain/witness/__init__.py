"""A script watched while it trains, step by step, whether hookcore is in its process or not.

What is written down here is compared by :mod:`hookcore.evidence`. The witness stands outside what
it judges: it hears of steps from torch's own hooks and reads the user's frames itself; of hookcore
it asks one thing, at which position a resume has put the training back.
"""
