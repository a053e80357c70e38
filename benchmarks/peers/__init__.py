"""Everyone who decodes SmolLM2 on a processor: a file a peer, each run in processes of its own."""
