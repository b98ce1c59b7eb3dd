"""Compiled loops on the arrays of one rank.

What belongs here: functions that compute with NumPy arrays and know nothing of other ranks. They import
numpy, numba and each other only, take outputs first, and are compiled by the decorator of `_jit`.
Imported as `dcomp.kernels`, never as `kernels`.
"""
