"""The commands that ask for and change what is kept, one file per group; `gateway.cli` puts them together. Doors."""
