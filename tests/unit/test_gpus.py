"""The cards that pages and worker count are those that a run could take."""

import pytest
from fakes.fake_nvml import Driver, NVMLError

from tabtune_core import gpus

NAMES = ("H100", "A100", "T4")
UUIDS = ("GPU-aa11", "GPU-aa22", "GPU-bb33")


@pytest.fixture
def driver(monkeypatch):
    """Puts a driver there, three cards unless told otherwise, and a torch with CUDA."""

    def put(*uuids, **more):
        driver = Driver(*(uuids or UUIDS), **({"names": NAMES} if not uuids else {}), **more)
        monkeypatch.setattr(gpus, "pynvml", driver)
        return driver

    monkeypatch.setattr(gpus, "installed_now", lambda package: "2.9.1+cu128")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return put


def test_every_card_is_named_where_none_is_hidden(driver):
    driver()
    assert gpus.card_names() == list(NAMES)
    assert gpus.count_cards() == 3


@pytest.mark.parametrize(
    ("visible", "named"),
    [
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("1", ["A100"]),
        ("2,0", ["T4", "H100"]),
        (" 0 , 2 ", ["H100", "T4"]),
        ("0,7,1", ["H100"]),
        ("0,-1,1", ["H100"]),
        ("1,1", []),
        ("GPU-bb33", ["T4"]),
        ("GPU-bb,GPU-aa11", ["T4", "H100"]),
        ("GPU-aa", []),
        ("GPU-bb33,0", ["T4"]),
        ("MIG-aa11", []),
    ],
)
def test_hidden_cards_are_not_named_and_the_order_is_the_one_asked_for(driver, monkeypatch, visible, named):
    driver()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus.card_names() == named
    assert gpus.count_cards() == len(named)


@pytest.mark.parametrize(
    ("visible", "named"),
    [
        (None, ["slice MIG-1"]),
        ("0,1", ["slice MIG-1"]),
        ("1", ["slice MIG-1"]),
        ("0", ["GPU-whole"]),
        ("GPU-whole,GPU-empty", ["GPU-whole"]),
        ("MIG-2,MIG-1", ["slice MIG-2"]),
        ("MIG-3", []),
    ],
)
def test_a_slice_of_a_card_is_the_only_card_and_a_card_in_slices_none(driver, monkeypatch, visible, named):
    driver("GPU-whole", "GPU-sliced", "GPU-empty", slices={"GPU-sliced": ["MIG-1", "MIG-2"], "GPU-empty": []})
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus.card_names() == named


def test_a_torch_without_cuda_has_no_card(driver, monkeypatch):
    driver()
    monkeypatch.setattr(gpus, "installed_now", lambda package: "2.9.1+cpu")
    assert gpus.card_names() == []
    assert gpus.count_cards() == 0


def test_no_driver_is_no_card(driver):
    def fail():
        raise NVMLError("library not found")

    driver().nvmlInit = fail
    assert gpus.card_names() == []


def test_free_memory_is_in_the_order_of_the_names_and_unknown_where_the_driver_does_not_tell(driver, monkeypatch):
    three = driver()
    told = three.nvmlDeviceGetMemoryInfo

    def memory(uuid):
        if uuid == UUIDS[1]:
            raise NVMLError("not supported")
        info = told(uuid)
        info.total += UUIDS.index(uuid)
        return info

    three.nvmlDeviceGetMemoryInfo = memory
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,1,0")
    assert gpus.card_memory() == [(1, 4), None, (1, 2)]


def test_the_library_is_opened_once_and_again_after_it_failed(driver):
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


@pytest.mark.parametrize(
    ("order", "free", "freest"),
    [("PCI_BUS_ID", {"GPU-bb33": 9}, 2), ("PCI_BUS_ID", {}, 0), (None, {"GPU-bb33": 9}, 0), ("FASTEST_FIRST", {"GPU-bb33": 9}, 0)],
)
def test_the_freest_card_is_named_where_torch_counts_as_the_driver_does(driver, monkeypatch, order, free, freest):
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    if order is not None:
        monkeypatch.setenv("CUDA_DEVICE_ORDER", order)
    driver(*UUIDS, free=free)
    assert gpus.freest_card() == freest


def test_a_card_for_one_process_is_known_by_torchs_number(driver, monkeypatch):
    driver(*UUIDS, exclusive=["GPU-aa22"])
    assert [gpus.takes_one_process(place) for place in range(4)] == [False, True, False, False]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert gpus.takes_one_process(0)
    assert gpus.card_uuids() == ["GPU-aa22"]
