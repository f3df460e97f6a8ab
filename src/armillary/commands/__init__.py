"""One file per verb of the command line; each has `main(arguments) -> exit status` and is imported when called."""
