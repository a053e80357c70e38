"""Corpora, tokenizers and batches: from text on disk to the tensors of one step."""
