"""What maintainers of a clone run: generated files, a release. Nothing of the product imports it."""
