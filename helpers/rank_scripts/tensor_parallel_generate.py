"""Load a checkpoint sharded over all ranks, run one prefill and a greedy generate(); rank 0 writes what came out.

    python -m torch.distributed.run --nproc-per-node 2 -m helpers record \\
        helpers/rank_scripts/tensor_parallel_generate.py CHECKPOINT PROMPT NEW_TOKENS RESULT.safetensors -o run.json.gz
"""

import os
import sys

import torch
import torch.distributed
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from helpers import compat

checkpoint, prompt, new_tokens, result = sys.argv[1:]
ranks = int(os.environ["WORLD_SIZE"])
model = AutoModelForCausalLM.from_pretrained(
    checkpoint, **compat.tensor_parallel_arguments(ranks), **compat.dtype_argument(torch.float32)
)
inputs = AutoTokenizer.from_pretrained(checkpoint)(prompt, return_tensors="pt").to(model.device)
with torch.no_grad():
    logits = model(**inputs).logits
length = {"min_new_tokens": int(new_tokens), "max_new_tokens": int(new_tokens)}
tokens = model.generate(**inputs, do_sample=False, **length)
if torch.distributed.get_rank() == 0:
    save_file({"logits": logits[0].contiguous().cpu(), "tokens": tokens[0].contiguous().cpu()}, result)
torch.distributed.destroy_process_group()
