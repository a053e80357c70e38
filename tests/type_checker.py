"""The type checker that the package's functions run under in the tests."""

from beartype import BeartypeConf, beartype

# PEP 484: where a float is expected, an int will do.
typechecked = beartype(conf=BeartypeConf(is_pep484_tower=True))
