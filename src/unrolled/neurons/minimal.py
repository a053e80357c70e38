def prove_minimal(table): raise NotImplementedError
