"""The one error of everything that finds, builds or checks a checkpoint."""


class CheckpointError(RuntimeError):
    """A checkpoint cannot be found, built or trusted; the message names the file and says what to do."""
