"""What a training process is asked to do, and over how many processes a training is spread, one a device."""

import os
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Interval

from experiments.runs import Workspace
from overtone.errors import OvertoneError
from overtone.worker_pool import available_cores

if TYPE_CHECKING:
    from pytorch_lightning.plugins.environments import ClusterEnvironment


@dataclass(frozen=True)
class Distribution:
    """Over how many processes a training is spread. It decides how fast a training is, not what it learns.

    Attributes:
        devices: processes of a training on each machine, one a device.
        num_nodes: machines of a training.
        strategy: how gradients are averaged; auto and ddp look for unused parameters where the model needs it.
        accelerator: kind of device.
    """

    devices: Annotated[int, Ge(1)] = 1
    num_nodes: Annotated[int, Ge(1)] = 1
    strategy: Literal["auto", "ddp", "ddp_find_unused_parameters_true", "ddp_find_unused_parameters_false"] = "auto"
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = "auto"

    @property
    def processes(self) -> int:
        """How many processes there are on all machines."""
        return self.devices * self.num_nodes

    def check(self, batch_size: int) -> None:
        """Raise unless the processes can share a batch evenly.

        Args:
            batch_size: of the preset, over all processes.

        Raises:
            OvertoneError: they cannot.
        """
        if batch_size % self.processes:
            raise OvertoneError(
                f"{self.processes} processes ({self.devices} devices x {self.num_nodes} nodes) cannot share the "
                f"preset's batch of {batch_size} evenly. Choose a number that divides it, or another data.batch_size."
            )


@dataclass(frozen=True)
class TrainRequest:
    """What a training needs to be told; plain values, so that it can go to another process.

    Attributes:
        model: a registered model.
        preset: name of a preset, or a .yaml file.
        seed: of weights and order of examples.
        workspace: corpus, folder for runs and tracking.
        distribution: over how many processes it is spread.
    """

    model: str
    preset: str
    seed: Annotated[int, Interval(ge=0, lt=2**32)] = 0
    workspace: Workspace = field(default_factory=Workspace)
    distribution: Distribution = field(default_factory=Distribution)

    @property
    def name(self) -> str:
        """The training's readable name."""
        return f"{self.model}-seed{self.seed}"


def outer_launcher() -> str | None:
    """Return the program that started this process as one of several of a training; None where it runs alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and "LOCAL_RANK" in os.environ:
        return "torchrun" if "TORCHELASTIC_RUN_ID" in os.environ else "environment"
    interactive = os.environ.get("SLURM_JOB_NAME") in {"bash", "interactive"}
    # A batch script has all of srun's variables but the number of a step.
    if int(os.environ.get("SLURM_NTASKS", "1")) > 1 and "SLURM_STEP_ID" in os.environ and not interactive:
        return "srun"
    return None


def launched_distribution(asked: Distribution) -> Distribution:
    """Return what an outer launcher has started, where nothing else was asked for.

    Raises:
        OvertoneError: something else was.
    """
    launcher = outer_launcher()
    if launcher is None:
        return asked
    if launcher == "srun":
        nodes = int(os.environ.get("SLURM_NNODES", "1"))
        processes = int(os.environ["SLURM_NTASKS"])
    else:
        processes = int(os.environ["WORLD_SIZE"])
        nodes = processes // int(os.environ.get("LOCAL_WORLD_SIZE", str(processes // asked.num_nodes)))
    started = (processes // nodes, nodes)
    if asked.processes > 1 and (asked.devices, asked.num_nodes) != started:
        raise OvertoneError(
            f"{launcher} has started {started[0]} processes on {started[1]} nodes, but --devices and --num-nodes say "
            f"{asked.devices} and {asked.num_nodes}. Leave them out, or give the same to both."
        )
    return Distribution(*started, asked.strategy, asked.accelerator)


def process_rank() -> int:
    """Return this process' number among all of its training, 0 where it is alone."""
    launcher = outer_launcher()
    if launcher is None:
        return 0
    return int(os.environ["SLURM_PROCID" if launcher == "srun" else "RANK"])


def cluster_environment() -> "ClusterEnvironment":
    """Return what tells the trainer of the other processes."""
    from pytorch_lightning.plugins.environments import (
        LightningEnvironment,
        SLURMEnvironment,
        TorchElasticEnvironment,
    )

    match outer_launcher():
        case "torchrun":
            return TorchElasticEnvironment()
        case "srun":
            return SLURMEnvironment(auto_requeue=False)  # SIGTERM makes a checkpoint, from which `--requeue` continues
    return LightningEnvironment()


def rank_environments(distribution: Distribution, threads: int | None) -> list[dict[str, str]]:
    """Return the environment variables of the processes to start on this machine.

    Where there are several machines, ``NODE_RANK``, ``MASTER_ADDR`` and ``MASTER_PORT`` say which this is, and where
    the first one is reached.

    Args:
        distribution: how many.
        threads: of each process; None for an equal share of the cores.

    Raises:
        OvertoneError: there are several machines and one of these variables is missing.
    """
    threads_each = threads or max(available_cores() // distribution.devices, 1)
    shared = {"OMP_NUM_THREADS": str(threads_each)} if threads or distribution.devices > 1 else {}
    if distribution.processes == 1:
        return [shared]
    node = 0
    if distribution.num_nodes > 1:
        missing = [name for name in ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
        if missing:
            raise OvertoneError(
                f"--num-nodes {distribution.num_nodes}: expected the environment variables NODE_RANK, MASTER_ADDR and "
                f"MASTER_PORT on every machine, or a start by torchrun or srun; missing {', '.join(missing)}."
            )
        node = int(os.environ["NODE_RANK"])
    else:
        from lightning_fabric.plugins.environments.lightning import find_free_network_port

        shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(find_free_network_port()), **_loopback()}
    shared |= {"NODE_RANK": str(node), "WORLD_SIZE": str(distribution.processes)}
    shared |= {"LOCAL_WORLD_SIZE": str(distribution.devices)}
    return [
        shared | {"LOCAL_RANK": str(local), "RANK": str(node * distribution.devices + local)}
        for local in range(distribution.devices)
    ]


def _loopback() -> dict[str, str]:
    """Keep gloo off other interfaces, and from resolving a host name that a container may not know."""
    if "GLOO_SOCKET_IFNAME" in os.environ:
        return {}
    name = next((name for _, name in socket.if_nameindex() if name in {"lo", "lo0"}), None)
    return {"GLOO_SOCKET_IFNAME": name} if name else {}
