"""Operations that run fast: a package for each, with a file for every backend and the reference, their oracle."""
