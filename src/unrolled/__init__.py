"""Unrolled: a workbench for sequence models in which every answer leaves a receipt."""

__version__ = "0.1.0"
