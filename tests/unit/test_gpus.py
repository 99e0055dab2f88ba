"""Pages and worker count the GPUs that a run could use."""

import pytest
from fakes.fake_nvml import Driver, NVMLError

from tabtune_core import gpus
from tabtune_core.errors import DeviceError

NAMES = ("H100", "A100", "T4")
UUIDS = ("GPU-aa11", "GPU-aa22", "GPU-bb33")


@pytest.fixture
def driver(monkeypatch):
    """Installs a fake driver, with three GPUs by default, and a torch with CUDA."""

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
        *[("GPU-bb33", ["T4"]), ("GPU-bb,GPU-aa11", ["T4", "H100"]), ("GPU-aa", []), ("GPU-bb33,0", ["T4"])],
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
def test_the_gpu_with_the_most_free_memory_is_named_if_torch_and_driver_count_alike(
    driver, monkeypatch, order, free, freest
):
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    if order is not None:
        monkeypatch.setenv("CUDA_DEVICE_ORDER", order)
    driver(*UUIDS, free=free)
    assert gpus.freest_card() == freest
