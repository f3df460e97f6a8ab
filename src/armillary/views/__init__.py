"""View samplers: who sees what. Functions of geometry and a `Random`, vectorised over the batch."""
