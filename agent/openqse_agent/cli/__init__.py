"""The command `openqse`: one file for each group of subcommands."""
