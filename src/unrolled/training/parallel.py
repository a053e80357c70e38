"""How do several processes train one model? Each takes rows of every batch; gradients are summed.

`torchrun` starts the processes and tells each its rank. What is computed does not depend on how
many they are: the loss is divided by the targets of the whole batch, and no mean is ever taken of
means. The model is wrapped from outside: by DDP (Li et al. 2020) each process holds all of it, by
FSDP (Zhao et al. 2023; here `fully_shard`) a share of weights, gradients and optimizer.
"""

from __future__ import annotations

import copy
import hashlib
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from datetime import timedelta
from itertools import chain, count
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from unrolled.errors import BadInput, WorkFailed
from unrolled.models.attention import CrossAttention
from unrolled.models.batch import IGNORED, Batch
from unrolled.models.block import Block
from unrolled.models.build import Model

Item = TypeVar("Item")
Result = TypeVar("Result")
Kind = Literal["ddp", "fsdp"]
PATIENCE = timedelta(hours=2)
"""How long a process waits for another: the first one reads, validates and saves for all."""
TO_MEET = timedelta(minutes=10)
"""How long a process waits for the others to appear."""
MEETINGS = count()
REPLICAS: list[nn.parallel.DistributedDataParallel] = []
"""What this process has in DDP, for as long as it is together with the others."""
LOST = re.compile("gloo|nccl|closed by peer|process group|connection", re.IGNORECASE)


def leads() -> bool:
    """Whether this process is the only or the first one: it alone prints and writes."""
    return not ("WORLD_SIZE" in os.environ and int(os.environ.get("RANK", 0)))


def launched() -> str:
    """A name of the torchrun that started this process, the same after a restart; "" if none did.

    Where torchrun was given no name, the number of its process is one.
    """
    name = os.environ.get("TORCHELASTIC_RUN_ID", "")
    return f"process {os.getppid()}" if name == "none" else name


def restarted(*, by_name: bool) -> bool:
    """Whether torchrun has started the processes again, after one of them ended badly.

    With `by_name` also a torchrun that was given a name (--rdzv-id, a Slurm job's number) may have
    been started again itself: that is then for what it has left behind to tell.
    """
    named = by_name and os.environ.get("TORCHELASTIC_RUN_ID", "none") != "none"
    return named or int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0


def size() -> int:
    """Number of processes that work together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


@contextmanager
def joined() -> Iterator[None]:
    """Work together with the processes that torchrun has started, if it has; alone, do nothing.

    Raises `WorkFailed` where one of the others is gone: what it died of is for it to say.
    """
    if dist.is_initialized() or int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield
        return
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
        backend = "cpu:gloo,cuda:nccl"
    try:
        dist.init_process_group(
            backend,
            store=meeting_place(),
            rank=int(os.environ["RANK"]),
            world_size=int(os.environ["WORLD_SIZE"]),
            timeout=PATIENCE,
        )
        yield
    except RuntimeError as error:
        if isinstance(error, WorkFailed) or not (
            isinstance(error, dist.DistError) or LOST.search(str(error))
        ):
            raise
        reason = str(error).strip().partition("\n")[0]
        raise WorkFailed(
            f"process {os.environ.get('RANK')} lost the others, of which one has ended: {reason}"
        ) from error
    finally:
        part()


def part() -> None:
    """Leave the other processes, if there are any.

    DDP's reducer must go first. It may outlive its model's last use (in a traceback, say), and
    where it then is the last to hold the group, Python's lock is held while the group waits for
    its threads, of which one may be waiting for that lock to free a gradient: in torch 2.13 the
    process hangs for good.
    """
    while REPLICAS:
        for name in ("reducer", "logger"):  # the logger holds the reducer too
            vars(REPLICAS[-1]).pop(name, None)
        REPLICAS.pop()
    if dist.is_initialized():
        dist.destroy_process_group()


def meeting_place() -> Any:
    """Where the processes leave each other their addresses.

    torchrun's own store outlives a restart, and with it, in torch 2.13, the addresses of those who
    are gone: each attempt has a part of it to itself.
    """
    number, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    keeps = number == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    store = dist.TCPStore(  # type: ignore[attr-defined]
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        world,
        keeps,
        timeout=TO_MEET,
        multi_tenant=True,
    )
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    name = f"unrolled {attempt} of {world}, {next(MEETINGS)}"
    return dist.PrefixStore(name, store)  # type: ignore[attr-defined]


def first(work: Callable[[], Result]) -> Result:
    """What the first process gets by doing `work`, given to all; the others wait for it.

    If it fails by bad input or failed work, the others end with the same exit code, silently.
    """
    if size() == 1:
        return work()
    told: list[Any] = [None, 0]
    try:
        if rank() == 0:
            told = [work(), 0]
    except (BadInput, WorkFailed) as error:
        told = [None, 2 if isinstance(error, BadInput) else 1]
        raise
    finally:
        dist.broadcast_object_list(told)
    if told[1]:
        raise SystemExit(told[1])
    result: Result = told[0]
    return result


def agree(what: str, content: object) -> None:
    """Raise `BadInput` unless all processes have the same `content`."""
    if size() == 1:
        return
    digests: list[Any] = [None] * size()
    dist.all_gather_object(digests, hashlib.sha256(repr(content).encode()).hexdigest())
    if other := [number for number, digest in enumerate(digests) if digest != digests[0]]:
        raise BadInput(
            f"process {other[0]} has other {what} than process 0: start all with the same command, "
            "data and versions"
        )


def spread(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """The results of all items, in their order, known to all; each process works on its share."""
    mine = [(number, work(item)) for number, item in enumerate(items) if number % size() == rank()]
    everyone: list[Any] = [mine]
    if size() > 1:
        everyone = [None] * size()
        dist.all_gather_object(everyone, mine)
    return [result for _, result in sorted(chain(*everyone), key=lambda pair: pair[0])]


def summed(value: float) -> float:
    """The sum over the processes."""
    return _reduced(value, dist.ReduceOp.SUM)


def most(value: float) -> float:
    """The largest that a process has."""
    return _reduced(value, dist.ReduceOp.MAX)


def _reduced(value: float, operation: Any) -> float:
    if size() == 1:
        return value
    tensor = torch.tensor(value, dtype=torch.float64)
    dist.all_reduce(tensor, operation)
    return float(tensor)


def share(batch: Batch) -> Batch:
    """The rows of a batch that are this process's; they make up the batch together.

    One row without targets where there are more processes than rows: all must take part in every
    sum of gradients, and it adds 0.
    """
    if size() == 1:
        return batch
    rows = len(batch.tokens)
    if rank() < rows:
        return batch.rows(rank(), size())
    spare = batch.rows(0, rows)
    return replace(spare, targets=torch.full_like(spare.targets, IGNORED))


def seed_of_process(seed: int) -> int:
    """A seed for dropout: the run's own in the first process, another in each other one."""
    if rank() == 0:
        return seed
    digest = hashlib.sha256(f"{seed} {rank()}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class Engine:
    """A model's loss, and whose parameters the gradients are left in, however many processes."""

    def __init__(self, model: Model, loss: Callable[[Batch], Tensor], kind: Kind) -> None:
        """`loss` is the model's own or made of it; FSDP takes the model's own in any case."""
        self.whole = model
        """The model on which to read, validate and save; up to date after `gather`."""
        self.trained: nn.Module = model
        """The model that learns: the whole one, or this process's share of it."""
        self.loss = loss
        self._wrapped: nn.parallel.DistributedDataParallel | None = None
        if size() > 1 and kind == "ddp":
            self.loss = self._wrapped = replicate(_Loss(model, loss))
        elif size() > 1:
            self.trained = shard(model)
            self.loss = self.trained.loss  # type: ignore[assignment]
            if rank():
                model.to("cpu")  # it is needed again for the scores alone

    def summing(self, now: bool) -> AbstractContextManager[object]:
        """Whether a backward pass sums over the processes; else gradients wait for one that does.

        Under FSDP every pass does: to wait would be to keep whole gradients.
        """
        if now or self._wrapped is None:
            return nullcontext()
        return self._wrapped.no_sync()

    @torch.no_grad()
    def gather(self) -> None:
        """Bring the whole model up to date; all processes must call it."""
        if self.trained is not self.whole:
            for mine, its in zip(self.whole.parameters(), self.trained.parameters(), strict=True):
                mine.copy_(whole(its))

    @torch.no_grad()
    def scatter(self) -> None:
        """The reverse: the trained model takes the whole one's weights."""
        if self.trained is not self.whole:
            for mine, its in zip(self.whole.parameters(), self.trained.parameters(), strict=True):
                its.copy_(share_like(mine, its))


def replicate(module: nn.Module) -> nn.parallel.DistributedDataParallel:
    """The module in DDP, gradients summed; its buffers are tables, the same everywhere for good."""
    with warnings.catch_warnings():
        # torch 2.13 has another word for broadcast_buffers, which earlier ones don't know.
        warnings.simplefilter("ignore", FutureWarning)
        wrapped = nn.parallel.DistributedDataParallel(
            module, broadcast_buffers=False, gradient_as_bucket_view=True
        )
    wrapped.register_comm_hook(None, lambda _, bucket: _sum_bucket(bucket))
    REPLICAS.append(wrapped)
    return wrapped


class _Loss(nn.Module):
    """The loss as DDP wants it: a module's forward."""

    def __init__(self, model: nn.Module, loss: Callable[[Batch], Tensor]) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, batch: Batch) -> Tensor:
        return self.loss(batch)


def _sum_bucket(bucket: Any) -> torch.futures.Future[Tensor]:
    """DDP's exchange of a bucket of gradients, without its division by the number of processes."""
    work = dist.all_reduce(bucket.buffer(), async_op=True)
    assert work is not None
    future: torch.futures.Future[Tensor] = work.get_future().then(lambda done: done.value()[0])
    return future


def shard(model: Model) -> Any:
    """A copy of the model of which each process holds a share; blocks are gathered one by one."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method

    device = next(model.parameters()).device
    mesh = init_device_mesh(device.type, (size(),))
    sharded = copy.deepcopy(model)
    for module in list(sharded.modules()):
        if isinstance(module, CrossAttention):  # its keys are made outside of its block
            fully_shard(module, mesh=mesh)
            register_fsdp_forward_method(module, "remember")
    for module in list(sharded.modules()):
        if isinstance(module, Block):
            fully_shard(module, mesh=mesh)
    fully_shard(sharded, mesh=mesh)
    register_fsdp_forward_method(sharded, "loss")
    for module in sharded.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    return sharded


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor that is in shares, on every process, which all must call it; else itself."""
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def share_like(tensor: Tensor, other: Tensor) -> Tensor:
    """A process's share of a whole tensor, if `other`, of the same shape, is in shares."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(other, DTensor) or tensor.shape != other.shape:
        return tensor
    here = tensor.to(other.device)
    return distribute_tensor(here, other.device_mesh, other.placements, src_data_rank=None)
