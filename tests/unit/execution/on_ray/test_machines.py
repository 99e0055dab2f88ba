"""What a worker says that can join no cluster; no Ray."""

from importlib.machinery import ModuleSpec

import pytest

from tabtune_core.errors import ClusterError
from tabtune_core.execution.on_ray import reach
from tabtune_core.execution.on_ray.machines import first_line, join, namespace_of


@pytest.fixture(autouse=True)
def ray_is_installed(monkeypatch):
    """As far as the look before a join sees."""
    monkeypatch.setattr(reach, "find_spec", lambda name: ModuleSpec(name, None, origin="there"))


@pytest.mark.parametrize("address", ["127.0.0.1:1", "[::1]:1", "no.such.host.invalid:6379", "127.0.0.1:99999999"])
def test_an_address_where_nobody_listens_is_said_at_once(tmp_path, address):
    with pytest.raises(ClusterError, match=r"There is no Ray cluster to join at .* Start one on this machine with 'ray start --head'"):
        join(address, tmp_path)


def test_auto_is_what_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(ClusterError, match=r"at '127.0.0.1:1'"):
        join("auto", tmp_path)


def test_a_client_address_is_refused_with_what_to_give(tmp_path):
    with pytest.raises(ClusterError, match="with the address 'auto' or that of its head, HOST:6379"):
        join("ray://head:10001", tmp_path)


def test_each_workspace_has_names_of_its_own(tmp_path):
    assert namespace_of(tmp_path / "a") != namespace_of(tmp_path / "b")
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert namespace_of(tmp_path / "a") == namespace_of(tmp_path / "link") == namespace_of(tmp_path / "b" / ".." / "a")


def test_what_ray_says_is_cut_to_a_sentence():
    assert first_line(ValueError("It died.\nAt length.")) == "It died."
    assert first_line(ValueError()) == "ValueError."
