"""What is measured. Run from a checkout; not part of the installed library."""
