"""Will it fit? A forecast from the config and the headers of the weights, before anything is loaded."""
