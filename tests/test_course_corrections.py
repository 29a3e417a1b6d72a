"""What the article has wrong and what it leaves out: each is corrected in a notebook, by a check that passed there."""

import nbformat
import pytest

from helpers import notebooks

WRONG = {
    "device_map is 'cpu' by default": ("04", "no device map was made; the weights are on the CPU"),
    "the device decides between meta and model": ("04", "device_map='cpu' set it"),
    "weights are not loaded into memory": ("10", "the constructor reserved the memory, the load made it resident"),
    "the loop over the shards reads them": ("04", "the load allocated less than a tenth of the weights' bytes"),
    "check_task returns a pipeline": ("05", "it returns three things; targeted_task['impl'] says which class"),
    "set_module_tensor_to_device casts": ("04", "each tensor: first the cast, then the placing"),
    "three __init__": ("03", "Module.__init__ ran once for each module of the tree"),
    "cached_file returns None": ("01", "None is given only where the caller allows it"),
    "sharded_metadata is the index": ("02", "total_size was lifted out of metadata"),
    "self(...) or model_forward": ("06", "model_forward(...) called the model itself: nothing compiled"),
    "lines of another commit": ("10", "it is line 1081 in 4.47.1, and not the 755 of the article's link"),
    "misspelt names": ("10", "no class has a name that the article misspells"),
    "accelerate is not needed": ("09", "without accelerate, a device_map is refused"),
    "7 * 4 = 28 GB": ("09", "in float32 they take 26.95 GB, which is 25.1 GiB"),
    "more than 14 GB is enough": ("06", "and the CUDA context is not in them"),
}
LEFT_OUT = {
    "the rest of the forward pass": ("07", "your own forward pass gives the library's logits"),
    "the processors": ("08", "generate() has the same scores, bit for bit"),
    "the KV cache": ("06", "predicted to the byte, after every step"),
    "stopping criteria": ("06", "max_new_tokens became a criterion"),
    "generation_config.json": ("06", "the call wins over the model's generation_config"),
    "tied weights": ("04", "tied as the config says: one memory, two names"),
    "hooks of dispatch_model": ("09", "a hook of accelerate's stands before each module on disk"),
    "TextGenerationPipeline.__call__": ("05", "the task's __call__, the base's, run_single, preprocess: in this order"),
    "_sanitize_parameters": ("05", "return_full_text became a return_type, in the third dictionary: for postprocess"),
    "list inputs": ("05", "get_iterator in place of run_single"),
    "AutoTokenizer": ("05", "nothing of stage 4: no shard is opened, no weight is read"),
    "decode steps have another shape": (
        "07",
        "ids (1, n) become (1, n, hidden) in the prefill, as the article says, and (1, 1, hidden) in each decode step",
    ),
    "the prompt is decoded a second time": ("08", "the pipeline decoded twice in 4.47.1, and once in 5.23.0"),
}


@pytest.mark.parametrize(("number", "claim"), [*WRONG.values(), *LEFT_OUT.values()], ids=[*WRONG, *LEFT_OUT])
def test_a_check_of_the_notebook_says_so(number, claim):
    path = next(path for path in notebooks.paths() if path.stem.startswith(number))
    code = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    printed = "".join(output.get("text", "") for cell in code for output in cell.outputs)
    assert f"✓ {claim}\n" in printed
