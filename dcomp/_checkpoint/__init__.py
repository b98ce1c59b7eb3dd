"""Checkpoints: the state of a program on the disk, whole or not at all, for any number of ranks.

From top to bottom: `checkpoint` is what the program calls; `saving` and `restoring` do it, on all ranks; `talk`, what
the ranks tell each other; `folder`, which steps there are, and how one comes and goes; `files`, bytes on the disk;
`lines`, arrays that are cut along another axis than the first; `manifest`, what a step is made of; `values`, the state
as JSON.
"""
