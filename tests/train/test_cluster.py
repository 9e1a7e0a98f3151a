"""torchrun on two machines: two of it on this one, and in two network namespaces."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from spikegrad.errors import RunError, UserError
from spikegrad.train import launcher, resolve
from spikegrad.train.app import train_run
from spikegrad.train.config import gather
from spikegrad.train.parallel import make_fabric

PATIENCE = 600.0


class Machine:
    """One torchrun of two, in a folder of its own."""

    def __init__(
        self,
        folder: Path,
        words: list[str],
        *,
        each: int,
        at: str,
        host: bool,
        inside: tuple[str, ...] = (),
    ):
        folder.mkdir(exist_ok=True)
        self.log = folder / "log"
        enter = ["ip", "netns", "exec", inside[0]] if inside else []
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2"]
        torchrun += ["--nproc-per-node", str(each), "--rdzv-backend", "c10d"]
        torchrun += ["--rdzv-endpoint", at, "--rdzv-id", "run"]
        torchrun += ["--rdzv-conf", f"is_host={int(host)}"]
        names = {"GLOO_SOCKET_IFNAME": "eth0"} if inside else {}
        if inside:  # the name of this machine is that of an address outside
            torchrun += ["--local-addr", inside[1]]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*enter, *torchrun, *words],
                cwd=folder,
                env={**os.environ, "OMP_NUM_THREADS": "1", **names},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self) -> int:
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        """All of it at once, as when the machine loses its power."""
        children = subprocess.run(
            ["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True, check=False
        )
        for pid in [self.process.pid, *map(int, children.stdout.split())]:
            os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def said(self, *beginnings: str) -> list[str]:
        return [line for line in self.log.read_text().splitlines() if line.startswith(beginnings)]


def logs(machines: Iterable[Machine]) -> str:
    return "\n".join(f"{machine.log}:\n{machine.log.read_text()}" for machine in machines)


@pytest.fixture
def two(tmp_path):
    """Start torchrun twice with the same words; what is left of them ends with the test.

    The first one holds torchrun's store: who binds first would hold it otherwise, and a torchrun
    whose store is gone stops its processes, whatever they are about to say.
    """
    started: list[Machine] = []

    def start(words: list[str], *, each: int = 1) -> tuple[Machine, Machine]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            at = f"127.0.0.1:{free.getsockname()[1]}"
        pair = [
            Machine(tmp_path / name, words, each=each, at=at, host=name == "a") for name in "ab"
        ]
        started.extend(pair)
        return pair[0], pair[1]

    yield start
    for machine in started:
        if machine.process.poll() is None:
            machine.kill()


def words_for(options: dict) -> list[str]:
    """A config as options of the command line."""
    words = []
    for name, value in options.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
            words += [f"--{flag}", text]
    return words


@pytest.fixture
def exact(options):
    """A run in which several processes follow one to rounding."""
    plain = {"dropout": 0.0, "encoder": "direct", "epochs": 2, "ema": 0.0, "batch_size": 21}
    return {**options, **plain, "precision": "64", "optimizer": "sgd", "learning_rate": 0.1}


def run_folders(tmp_path: Path) -> list[Path]:
    return sorted(path.parent for path in tmp_path.glob("?/run/config.toml"))


def assert_same_weights(run: Path, other: Path) -> None:
    one, two = (load_file(path / "weights.safetensors") for path in (run, other))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=0, atol=1e-6)


def test_two_machines_of_two_processes_are_one_process(exact, two, tmp_path):
    """Each in a folder of its own, as machines without a common disk: the first process writes."""
    machines = two(["-m", "spikegrad", "train", *words_for(exact), "--out", "run"], each=2)
    assert [machine.wait() for machine in machines] == [0, 0], logs(machines)
    (run,) = run_folders(tmp_path)
    train_run(resolve(exact), tmp_path / "one", progress=False)
    assert_same_weights(tmp_path / "one", run)
    assert "processes = 4" in (run / "config.toml").read_text()
    told = [machine.said("training tiny", "epoch ", "test accuracy") for machine in machines]
    assert sorted(map(len, told)) == [0, 4], told


def test_a_machine_that_is_lost_ends_the_other_which_goes_on_later(exact, two, tmp_path):
    wanted = {**exact, "epochs": 25}
    run = tmp_path / "run"
    first = two(["-m", "spikegrad", "train", *words_for(wanted), "--out", str(run)])
    end = time.monotonic() + PATIENCE
    while not ((run / "metrics.jsonl").exists() and (run / "metrics.jsonl").read_text()):
        assert time.monotonic() < end
        assert all(machine.process.poll() is None for machine in first), logs(first)
        time.sleep(0.05)
    left, lost = first
    lost.kill()
    assert left.wait() == 1
    (line,) = left.said("error: ", "stopped ")
    assert "got one that ended" in line
    assert "start all processes again with --resume" in line
    assert not (run / "result.json").exists()
    again = two(["-m", "spikegrad", "train", "--resume", str(run)])
    assert [machine.wait() for machine in again] == [0, 0], logs(again)
    train_run(resolve({**wanted, "processes": 2}), tmp_path / "whole", progress=False)
    bytes_of = [(path / "weights.safetensors").read_bytes() for path in (run, tmp_path / "whole")]
    assert bytes_of[0] == bytes_of[1]


SCRIPT = """
import os, sys, torch
from torch.utils.data import DataLoader, TensorDataset
import spikegrad as sg
from spikegrad.train import fit

rank = int(os.environ["RANK"])
torch.manual_seed(rank)  # networks that differ: that of the first process is trained
network = sg.Sequential(sg.Linear(6, 16), sg.LIF(10.0), sg.Linear(16, 3)).double()
before = {name: p.detach().clone() for name, p in network.state_dict().items()}
x = torch.rand(50, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
loader = DataLoader(TensorDataset(x, torch.arange(50) % 3), 16, shuffle=True)
optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
result = fit(network, loader, test_loader=loader, optimizer=optimizer, epochs=2, precision="64",
             progress=False, preflight="off")
after = network.state_dict()
torch.save([before, after, result.test_accuracy, loader], f"{sys.argv[1]}/{rank}.pt")
if sys.argv[2] == "fail" and rank == 1:
    fit(network, [(x[:, :5], torch.arange(50) % 3)], epochs=1, progress=False)
elif sys.argv[2] == "fail":
    fit(network, loader, epochs=1, progress=False, preflight="off")
"""


def test_a_script_under_torchrun(two, tmp_path):
    """Networks and an optimizer of one's own; then an error in one process ends both."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    machines = two([str(script), str(tmp_path), "fail"])
    assert [machine.wait() for machine in machines] == [1, 1], logs(machines)
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in (0, 1)]
    assert not torch.equal(found[0][0]["0.weight"], found[1][0]["0.weight"])
    assert all(torch.equal(found[0][1][name], value) for name, value in found[1][1].items())
    assert found[0][2] == found[1][2]
    import spikegrad as sg

    alone = sg.Sequential(sg.Linear(6, 16), sg.LIF(10.0), sg.Linear(16, 3)).double()
    alone.load_state_dict(found[0][0])
    how = {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0, "learning_rate": 0.1}
    quiet = {"precision": "64", "progress": False, "preflight": "off"}
    sg.train.fit(alone, found[0][3], epochs=2, **how, **quiet)
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(found[0][1][name], value, rtol=0, atol=1e-6)
    errors = "".join(machine.log.read_text() for machine in machines)
    assert "process 1: " in errors


LEAVES = """
import os, subprocess, sys, torch
import torch.distributed as dist
import spikegrad as sg
from spikegrad.train import fit

network = sg.Sequential(sg.Linear(6, 16), sg.LIF(10.0), sg.Linear(16, 3))
batch = torch.arange(120.0).view(20, 6) / 120, torch.arange(20) % 3
fit(network, [batch], epochs=1, progress=False, preflight="off")
busy = "import os\\nwhile os.getppid() == {}: pass".format(os.getpid())
for thread in map(int, os.listdir("/proc/self/task")):
    os.sched_setaffinity(thread, {min(os.sched_getaffinity(0))})
    if thread != os.getpid():  # runs where nothing else wants to, as it does on a busy machine
        os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))
subprocess.Popen([sys.executable, "-c", busy])
dist.all_reduce(torch.ones(8))
"""


def told_by_both(code: str, *words: str, machines: int = 1) -> tuple[list[int], list[str]]:
    """Two processes in the environment that torchrun makes: their exit codes, what each printed."""
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    here = 2 // machines
    environment = {
        **os.environ,
        "TORCHELASTIC_RUN_ID": "run",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": str(here),
        "GROUP_WORLD_SIZE": str(machines),
        "OMP_NUM_THREADS": "1",
    }
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, *words],
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank % here)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    try:
        told = [process.communicate(timeout=PATIENCE)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    return [process.returncode for process in started], told


@pytest.mark.skipif(sys.platform != "linux", reason="needs the scheduler of Linux")
def test_a_process_leaves_while_a_thread_of_gloo_holds_a_tensor():
    """torch aborts one that does not end the connections first, and torchrun then ends the rest."""
    codes, told = told_by_both(LEAVES)
    assert codes == [0, 0], told


LAST = """
import sys, time
import spikegrad.cli.summary, spikegrad.train.finish
from spikegrad.cli.main import main
from spikegrad.errors import RunError

def fails(*_, **__):
    time.sleep(0.5)  # the other process has nothing left to do meanwhile
    raise RunError("no space left")

module, name = sys.argv.pop(1).rsplit(".", 1)
setattr(sys.modules[module], name, fails)
sys.exit(main())
"""


@pytest.mark.parametrize(
    "last", ["spikegrad.train.finish.write_samples", "spikegrad.cli.summary.draw"]
)
def test_all_wait_for_the_last_work_of_the_first_process(exact, tmp_path, last):
    """Its error ends both machines, of which the other would else have ended well before it."""
    words = ["train", *words_for({**exact, "epochs": 1}), "--quiet", "--out", str(tmp_path / "run")]
    codes, told = told_by_both(LAST, last, *words, machines=2)
    assert codes == [1, 1], told
    assert ["error: no space left" in text for text in told] == [True, True], told


ADDRESSES = ("10.231.77.1", "10.231.77.2")


@pytest.fixture
def namespaces():
    """Two network namespaces, each with a loopback and one end of a cable between them."""
    if os.name == "nt" or os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("needs root and iproute2")
    names = [f"spikegrad-{os.getpid()}-{end}" for end in "ab"]

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    try:
        try:
            for name in names:
                ip("netns", "add", name)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespaces here: {error.stderr.decode().strip()}")
        ends = [word for name in names for word in ("netns", name)]
        ip("link", "add", "eth0", *ends[:2], "type", "veth", "peer", "name", "eth0", *ends[2:])
        for name, address in zip(names, ADDRESSES, strict=True):
            ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                ip("-n", name, "link", "set", device, "up")
        yield list(zip(names, ADDRESSES, strict=True))
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def test_two_networks_are_one_process(exact, namespaces, tmp_path):
    """Nothing but the cable joins them: no common loopback, no common folder."""
    words = ["-m", "spikegrad", "train", *words_for(exact), "--out", "run"]
    at = f"{ADDRESSES[0]}:29500"
    machines = [
        Machine(tmp_path / end, words, each=1, at=at, host=end == "a", inside=inside)
        for end, inside in zip("ab", namespaces, strict=True)
    ]
    try:
        assert [machine.wait() for machine in machines] == [0, 0], logs(machines)
    finally:
        for machine in machines:
            if machine.process.poll() is None:
                machine.kill()
    (run,) = run_folders(tmp_path)
    train_run(resolve(exact), tmp_path / "one", progress=False)
    assert_same_weights(tmp_path / "one", run)


@pytest.fixture
def torchrun(monkeypatch):
    """The environment that torchrun makes."""

    def put(**values: int) -> None:
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "run")
        for name, value in values.items():
            monkeypatch.setenv(name, str(value))

    return put


def test_the_processes_are_those_that_torchrun_started(torchrun):
    config = gather({"processes": 2})
    assert launcher.settled(config) is config
    assert launcher.is_first()
    assert launcher.speaks()
    torchrun(RANK=3, LOCAL_RANK=1, WORLD_SIZE=4, LOCAL_WORLD_SIZE=2, GROUP_WORLD_SIZE=2)
    assert launcher.settled(gather({})).run.processes == 4
    assert (launcher.machines(), launcher.is_first(), launcher.speaks()) == (2, False, False)
    with pytest.raises(UserError, match="expected 4 processes, as torchrun started, got 2"):
        launcher.settled(config)
    torchrun(WORLD_SIZE=3)
    with pytest.raises(UserError, match="the same number of processes on every machine"):
        launcher.settled(gather({}))


def test_a_command_in_a_job_of_slurm_is_one_process(monkeypatch):
    """Fabric took it for one of the job's tasks, and refused what it was asked for."""
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "4")
    monkeypatch.setenv("SLURM_JOB_NAME", "train")
    monkeypatch.setenv("SLURM_PROCID", "3")
    fabric = make_fabric(gather({"device": "cpu"}))
    assert (fabric.world_size, fabric.global_rank) == (1, 0)


def test_an_error_of_a_run_keeps_its_kind():
    from spikegrad.train.agreement import agreed, from_first

    with pytest.raises(RunError, match=r"^a$"), agreed():
        raise RunError("a")
    with pytest.raises(ZeroDivisionError):
        from_first(lambda: 1 / 0)
