"""Hardware: where and how the numbers are computed. `auto` means what was measured or is known to be safe."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict

from titrant.space import Range


class Hardware(BaseModel):
    """The hardware slot: it changes speed, not the recipe's meaning.

    Doses:
        device: `auto` takes CUDA, else MPS, else the CPU; or a torch device such as `cuda:1`.
        threads: CPU threads, 0 for torch's own choice.
        processes: that train one network together, each on a part of every batch (data parallel), for networks that are too
            large to train several at a time. With GPUs each process has one; otherwise they share the CPU threads.
        precision: `auto` is float32 (TF32 matrix products on CUDA); `bf16` computes the forward pass in bfloat16, and `fp16` in
            half precision, with scaled losses. On a CPU without AMX or AVX512-BF16 bfloat16 is 20 to 40 times slower, and is
            refused there; half precision is for GPUs.
        compile: True compiles the network with `torch.compile`: 15 to 35 seconds, once for each stack size, that pay only in
            long runs.
        checkpoint: True keeps for the gradient only what goes from block to block of a network's body, and computes what stands
            inside a block again in the backward pass: the same weights in a fraction of the memory, for a quarter to a half
            more time, and two to three times the time where layers are small. Networks of one block, such as `linear`, stay as
            they are; it does not go with `compile`.
        layout: how maps stand in memory where convolutions of pictures read them. `auto` is `channels_last`; `contiguous`
            copies them channels first before each (`titrant hardware` measures whether that pays). Networks without such
            convolutions ignore it, with a warning.

    Example:
        >>> Hardware(threads=2).precision
        'auto'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    device: Annotated[str, "device"] = "auto"
    threads: Annotated[int, Range(0, 1024, off=0, search=(0, 0), unit="threads", shared=True)] = 0
    processes: Annotated[int, Range(1, 64, off=1, search=(1, 1), unit="processes", shared=True)] = 1
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    compile: bool = False
    checkpoint: bool = False
    layout: Literal["auto", "contiguous", "channels_last"] = "auto"
