"""Whether a representation is alive: ranks and spectra, and a verdict in plain language."""
