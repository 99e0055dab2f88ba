"""State files: they are read back unchanged, and a damaged one is never accepted."""

import pytest
import torch
from small_disk import fill, small_disk

from tabtune_core.files.damaged import Damaged
from tabtune_core.training.best_checkpoint import BestState, read_state, write_state

TENSORS = {"b": torch.arange(6.0).reshape(2, 3).T, "a": torch.tensor(7.0), "c": torch.tensor([1, 2], dtype=torch.uint8)}
FACTS = {"step": 3, "scores": [float("nan"), 0.1], "text": '"digest": ' + "0" * 128}


def test_tensors_and_facts_come_back(tmp_path):
    write_state(tmp_path / "new" / "state.pt", TENSORS, FACTS)
    tensors, facts = read_state(tmp_path / "new" / "state.pt")
    assert str(facts) == str(FACTS)
    assert {name: tensor.tolist() for name, tensor in tensors.items()} == {
        name: tensor.tolist() for name, tensor in TENSORS.items()
    }
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["state.pt"]


def test_the_best_state_comes_back_and_so_does_the_first(tmp_path):
    layer = torch.nn.Linear(1, 1, bias=False).requires_grad_()
    torch.nn.init.constant_(layer.weight, 1.0)
    best = BestState(layer, tmp_path)
    for step, value in ((5, 2.0), (7, 3.0)):
        torch.nn.init.constant_(layer.weight, value)
        best.keep(step)
    torch.nn.init.constant_(layer.weight, 9.0)
    best.restore()
    assert layer.weight.item() == 3.0
    best.restore(first=True)
    assert layer.weight.item() == 1.0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best-0.pt", "best-7.pt"]


def test_a_later_process_takes_a_best_state_which_then_stays_until_the_next_saved_one(tmp_path):
    def names():
        return sorted(path.name.partition(".")[0] for path in tmp_path.iterdir())

    layer = torch.nn.Linear(1, 1).requires_grad_()
    layer.bias.requires_grad_(False)
    first = BestState(layer, tmp_path)
    with torch.no_grad():
        layer.weight.fill_(2.0)
    first.keep(5)
    with torch.no_grad():
        layer.weight.fill_(1.0)
    later = BestState(layer, tmp_path)
    later.take(5)
    later.restore()
    assert (layer.weight.item(), [*later.trainable]) == (2.0, ["weight"])
    later.keep(7)
    assert names() == ["best-0", "best-5", "best-7"], "a saved last state names the state of step 5"
    later.rely()
    assert names() == ["best-0", "best-7"]
    later.take(0)
    assert names() == ["best-0"]
    later.restore()
    assert layer.weight.item() == 1.0


def test_a_best_state_that_is_missing_is_not_taken(tmp_path):
    with pytest.raises(Damaged, match="best-6"):
        BestState(torch.nn.Linear(1, 1), tmp_path).take(6)


def test_no_changed_byte_changes_what_is_read(tmp_path):
    file, detected = tmp_path / "state.pt", 0
    write_state(file, TENSORS, FACTS)
    whole = file.read_bytes()
    for place in range(0, len(whole), 7):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            tensors, facts = read_state(file)
        except Damaged as error:
            detected += "state.pt" in str(error)
            continue
        assert str(facts) == str(FACTS), "the byte was one that nobody reads"
        assert all(torch.equal(tensors[name], value) for name, value in TENSORS.items())
    assert detected > 20


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 4096, b"\x02\0\0\0\0\0\0\0{}"])
def test_a_file_that_is_not_a_state_is_refused(tmp_path, content):
    (tmp_path / "state.pt").write_bytes(content)
    with pytest.raises(Damaged):
        read_state(tmp_path / "state.pt")


def test_a_full_disk_keeps_the_earlier_state_and_no_partial_new_one(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        file = disk / "state.pt"
        write_state(file, TENSORS, FACTS)
        filler = fill(disk)
        with filler.open("r+b") as opened:
            opened.truncate(filler.stat().st_size - 20_000)
        with pytest.raises(OSError, match="No space left"):
            write_state(file, {"large": torch.zeros(100_000)}, FACTS)
        assert {path.name for path in disk.iterdir()} == {"state.pt", "filler"}
        assert sorted(read_state(file)[0]) == sorted(TENSORS)
