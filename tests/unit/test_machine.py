"""The resources of the machine, its GPUs, and on which device a run computes."""

from types import SimpleNamespace

import psutil
import pytest
import torch
from fakes.fake_nvml import Driver, NVMLError

from tabtune_core import devices, gpus, machine
from tabtune_core.devices import resolve_device
from tabtune_core.errors import DeviceError
from tabtune_core.gpus import check_device
from tabtune_core.machine import core_quota, disk_of, machine_memory, network_file_system
from tabtune_core.training.session import _salt

GIGABYTE = 10**9


@pytest.fixture
def group(tmp_path, monkeypatch):
    """Writes files of control groups; this process is in /pod/run."""
    monkeypatch.setattr(machine, "CGROUP", own := tmp_path / "cgroup")
    monkeypatch.setattr(machine, "CGROUPS", tmp_path / "fs")
    own.write_text("0::/pod/run\n")

    def write(name, text):
        (tmp_path / "fs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "fs" / name).write_text(text)

    return write


def test_without_a_group_limit_the_machines_own_values_apply(group):
    free, whole = machine_memory()
    assert whole == psutil.virtual_memory().total
    assert 0 < free < whole
    assert core_quota() is None


def test_the_lowest_limit_of_the_parent_groups_counts(group):
    group("pod/memory.max", f"{GIGABYTE}\n")
    group("pod/memory.current", f"{GIGABYTE // 2}\n")
    group("pod/memory.stat", "anon 5\ninactive_file 100000000\n")
    group("pod/run/memory.max", "max\n")
    group("pod/run/memory.current", "7\n")
    assert machine_memory() == (6 * 10**8, GIGABYTE)
    group("cpu.max", "max 100000\n")
    group("pod/cpu.max", "50000 100000\n")
    group("pod/run/cpu.max", "250000 100000\n")
    assert core_quota() == 0.5


def test_a_missing_path_has_the_disk_of_its_first_existing_parent(tmp_path):
    free, total = disk_of(tmp_path / "not" / "there")
    assert total == disk_of(tmp_path)[1] and 0 <= free <= total


@pytest.mark.parametrize(
    ("place", "kind"),
    [("home", "nfs4"), ("home/deep", "nfs4"), ("home/local/x", None), ("home/locally", "nfs4"), ("home/twice", "cifs")],
)
def test_a_network_file_system_is_recognised_by_the_mount_of_the_folder(tmp_path, monkeypatch, place, kind):
    root = tmp_path.resolve()
    mounts = {"/": "ext4", f"{root}/home": "nfs4", f"{root}/home/local": "xfs"}
    parts = [SimpleNamespace(mountpoint=mount, fstype=name) for mount, name in mounts.items()]
    parts += [SimpleNamespace(mountpoint=f"{root}/home/twice", fstype=name) for name in ("ext4", "cifs")]
    monkeypatch.setattr(machine.psutil, "disk_partitions", lambda all: parts)
    mount = network_file_system(tmp_path / place)
    assert (mount and mount[0]) == kind


NAMES = ("H100", "A100", "T4")
UUIDS = ("GPU-aa11", "GPU-aa22", "GPU-bb33")


@pytest.fixture
def driver(monkeypatch):
    def put(*uuids, **more):
        driver = Driver(*(uuids or UUIDS), **({"names": NAMES} if not uuids else {}), **more)
        monkeypatch.setattr(gpus, "pynvml", driver)
        return driver

    monkeypatch.setattr(gpus, "installed_now", lambda package: "2.9.1+cu128")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return put


@pytest.mark.parametrize(
    ("visible", "named"),
    [
        *[("", []), ("-1", []), ("NoDevFiles", []), ("1", ["A100"]), ("2,0", ["T4", "H100"])],
        *[(" 0 , 2 ", ["H100", "T4"]), ("0,7,1", ["H100"]), ("0,-1,1", ["H100"]), ("1,1", [])],
        *[("GPU-bb33", ["T4"]), ("GPU-bb,GPU-aa11", ["T4", "H100"]), ("GPU-aa", [])],
        ("MIG-aa11,MIG-aa22", ["slice MIG-aa11"]),
    ],
)
def test_hidden_gpus_are_not_listed_and_the_order_is_as_requested(driver, monkeypatch, visible, named):
    driver()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus.card_names() == named
    assert gpus.count_cards() == len(named)


def test_a_torch_without_cuda_has_no_gpu(driver, monkeypatch):
    driver()
    monkeypatch.setattr(gpus, "installed_now", lambda package: "2.9.1+cpu")
    assert gpus.card_names() == []
    assert gpus.count_cards() == 0


def fail(*_):
    raise NVMLError("library not found")


def test_without_a_driver_there_is_no_gpu_and_a_named_one_is_for_the_run_to_find(driver):
    driver().nvmlInit = fail
    assert (gpus.card_names(), gpus.card_uuids(), gpus.freest_card()) == ([], [], 0)
    gpus.check_device("cuda:0")


@pytest.mark.parametrize(("name", "words"), [("cuda:3", "3 CUDA GPUs"), ("mps", "no device 'mps'")])
def test_a_missing_or_unknown_device_is_refused_before_the_run(driver, name, words):
    driver()
    for there in ("cuda:2", "auto", "cpu"):
        gpus.check_device(there)
    with pytest.raises(DeviceError, match=words):
        gpus.check_device(name)


@pytest.mark.parametrize(
    ("visible", "named"), [(None, ["H100", "T4"]), ("1", ["T4"]), ("GPU-aa22,0", []), ("1,0", ["T4", "H100"])]
)
def test_a_lost_gpu_hides_no_other_and_has_no_number(driver, monkeypatch, visible, named):
    three = driver()
    monkeypatch.setattr(three, "nvmlDeviceGetHandleByIndex", lambda place: fail() if place == 1 else UUIDS[place])
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert (gpus.card_names(), gpus.count_cards()) == (named, len(named))


def test_free_memory_is_in_the_order_of_the_names_and_unknown_if_the_driver_does_not_report_it(driver, monkeypatch):
    three = driver()
    plain = three.nvmlDeviceGetMemoryInfo

    def memory(uuid):
        if uuid == UUIDS[1]:
            raise NVMLError("not supported")
        info = plain(uuid)
        info.total += UUIDS.index(uuid)
        return info

    three.nvmlDeviceGetMemoryInfo = memory
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,1,0")
    assert gpus.card_memory() == [(1, 4), None, (1, 2)]


def test_the_library_is_opened_once_and_again_after_a_failure(driver):
    three = driver()
    for _ in range(3):
        assert gpus.count_cards() == 3
        gpus.card_memory()
    assert three.opened == 1
    count, three.nvmlDeviceGetCount = three.nvmlDeviceGetCount, lambda: three.nvmlDeviceGetHandleByUUID("gone")
    assert gpus.card_names() == []
    three.nvmlDeviceGetCount = count
    assert gpus.card_names() == list(NAMES)
    assert three.opened == 2


@pytest.mark.parametrize(("order", "free", "freest"), [("PCI_BUS_ID", {"GPU-bb33": 9}, 2), (None, {"GPU-bb33": 9}, 0)])
def test_the_gpu_with_the_most_free_memory_is_named_if_torch_counts_so_too(driver, monkeypatch, order, free, freest):
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    if order is not None:
        monkeypatch.setenv("CUDA_DEVICE_ORDER", order)
    driver(*UUIDS, free=free)
    assert gpus.freest_card() == freest


@pytest.fixture
def torch_gpus(monkeypatch):
    """A torch that sees two GPUs; ``fail`` is raised when something is computed on one."""
    tried = []

    def put(fail=None, hip=None):
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: torch.device("cuda"))
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        monkeypatch.setattr(torch.version, "hip", hip)
        ones = torch.ones

        def compute(size, device):
            tried.append(device)
            if fail is not None:
                raise fail
            return ones(size)

        monkeypatch.setattr(torch, "ones", compute)
        return tried

    return put


def test_a_gpu_is_tried_before_it_is_chosen(torch_gpus):
    tried = torch_gpus()
    assert resolve_device("auto") == torch.device("cuda:0")
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    assert tried == [torch.device("cuda:0"), torch.device("cuda:1")]


@pytest.mark.parametrize("name", ["auto", "cuda:1"])
def test_a_gpu_that_cannot_compute_is_an_error_and_never_replaced_by_another_device(torch_gpus, name):
    torch_gpus(fail=RuntimeError("CUDA error: no kernel image is available for execution on the device\nmore"))
    with pytest.raises(DeviceError, match="GPU cuda:. cannot be used: CUDA error: no kernel .*device Choose 'cpu'"):
        resolve_device(name)


def test_auto_means_the_gpu_with_the_most_free_memory(torch_gpus, monkeypatch):
    torch_gpus()
    monkeypatch.setattr(devices, "freest_card", lambda: 1)
    assert resolve_device("auto") == torch.device("cuda:1")
    monkeypatch.setattr(devices, "freest_card", lambda: 7)  # the driver lists GPUs that torch does not see
    assert resolve_device("auto") == torch.device("cuda:1")


def test_a_full_gpu_is_not_a_broken_gpu(torch_gpus):
    torch_gpus(fail=torch.OutOfMemoryError("CUDA out of memory."))
    with pytest.raises(torch.OutOfMemoryError):
        resolve_device("cuda:0")


def test_an_amd_gpu_is_not_taken(torch_gpus):
    tried = torch_gpus(hip="6.4")
    assert resolve_device("auto") == torch.device("cpu")
    with pytest.raises(DeviceError, match="'cuda:0' was requested, but torch sees 0 CUDA GPUs"):
        resolve_device("cuda:0")
    assert tried == []


@pytest.mark.parametrize("name", ["mps", "xpu:1", "meta", "cuda:-1"])
@pytest.mark.parametrize("ask", [resolve_device, check_device])
def test_a_device_of_another_kind_is_refused_with_the_way_out(torch_gpus, ask, name):
    tried = torch_gpus()
    with pytest.raises(DeviceError, match=f"There is no device '{name}': runs use NVIDIA GPUs or the CPU. Use 'auto'"):
        ask(name)
    assert tried == []


def test_only_equal_gpus_share_computed_results():
    card = SimpleNamespace(family=SimpleNamespace(distribution="tabicl"))
    model = SimpleNamespace(source=SimpleNamespace(sha256="abc"), task="classification", card=card)
    names = ("cuda:0 (NVIDIA H100)", "cuda:1 (NVIDIA H100)", "cuda:1 (Tesla T4)", "cpu")
    first, second, other, cpu = (_salt(model, SimpleNamespace(device=name)) for name in names)
    assert first == second
    assert len({first, other, cpu}) == 3
