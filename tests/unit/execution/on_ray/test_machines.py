"""Which code a machine has."""

from tabtune_core.execution.on_ray.machines import code_version


def test_the_version_follows_the_sources_wherever_they_are(tmp_path):
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "one.py").write_text("1")
    assert code_version(tmp_path / "a") == code_version(tmp_path / "b")
    (tmp_path / "b" / "one.py").write_text("2")
    assert code_version(tmp_path / "a") != code_version(tmp_path / "b")
