"""Names and messages of a worker that uses Ray; tested without Ray."""

from tabtune_core.execution.on_ray.machines import first_line, namespace_of


def test_each_workspace_has_its_own_names(tmp_path):
    assert namespace_of(tmp_path / "a") != namespace_of(tmp_path / "b")
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert namespace_of(tmp_path / "a") == namespace_of(tmp_path / "link") == namespace_of(tmp_path / "b" / ".." / "a")


def test_messages_of_ray_are_cut_to_a_sentence():
    assert first_line(ValueError("It died.\nAt length.")) == "It died."
    assert first_line(ValueError()) == "ValueError."
