"""How classifiers are made. Run from a checkout; not part of the installed library."""
