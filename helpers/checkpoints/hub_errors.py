"""What huggingface_hub raises, in words that say what to do."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager

from helpers.checkpoint_error import CheckpointError

NOT_WRITTEN = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)
USE_DEMO = "or unset TRACE_MODEL to use the demo checkpoint"


@contextmanager
def plain_hub_errors(model: str, *, missing_file_is_error: bool = True, otherwise: str = USE_DEMO):
    """Turn what huggingface_hub raises into a CheckpointError that says what to do, or `otherwise`."""
    from huggingface_hub import constants, errors

    from helpers.compat import hub_connection_errors

    page = f"{constants.ENDPOINT}/{model}"
    try:
        yield
    except errors.GatedRepoError as error:
        raise CheckpointError(
            f"{model} is gated: accept its terms on {page}, log in with `hf auth login` or set HF_TOKEN, {otherwise}"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise CheckpointError(
            f"{model} is neither a folder of this machine nor a public model on the Hub: correct "
            f"{'TRACE_MODEL' if otherwise is USE_DEMO else 'it'}; "
            f"if it is private, log in with `hf auth login` or set HF_TOKEN, {otherwise}"
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise CheckpointError(out_of_reach(model, otherwise)) from error
    except errors.EntryNotFoundError as error:
        if not missing_file_is_error:
            raise
        raise CheckpointError(f"{model} has no config.json on the Hub: choose another model, {otherwise}") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "no answer"
        raise CheckpointError(f"The Hub answered {status} for {model}: try again later, {otherwise}") from error
    except (errors.OfflineModeIsEnabled, *hub_connection_errors()) as error:
        if isinstance(error, OSError) and error.errno in NOT_WRITTEN:
            raise CheckpointError(
                f"{model} could not be written to the Hub cache ({constants.HF_HUB_CACHE}): "
                f"{os.strerror(error.errno)}. Make room there, or set HF_HOME to another folder, {otherwise}"
            ) from error
        raise CheckpointError(out_of_reach(model, otherwise)) from error


def out_of_reach(model: str, otherwise: str = USE_DEMO) -> str:
    """Why a Hub id that is not cached whole cannot be had, and what to do."""
    from huggingface_hub import constants

    why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the Hub cannot be reached"
    return (
        f"{model} is neither a folder of this machine nor complete in the Hub cache "
        f"({constants.HF_HUB_CACHE}), and "
        f"{why}: download it once with `hf download {model}`, give a local path, {otherwise}"
    )
