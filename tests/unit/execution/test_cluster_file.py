"""What the pages read about a cluster."""

import pytest

from tabtune_core.execution.cluster_file import (
    CLUSTER,
    Cluster,
    ClusterNode,
    read_cluster,
    why_not_joined,
    write_cluster,
)
from tabtune_core.execution.worker_flags import VARIABLE, cluster_for_new_runs

MADE = Cluster(
    (ClusterNode("a", 8, ("NVIDIA L4",) * 2), ClusterNode("b", 4, (), "Node b has torch 2.8.0.")), "It waits."
)


def test_the_file_reads_back_and_a_node_without_runs_does_not_count(tmp_path):
    write_cluster(tmp_path, MADE)
    assert read_cluster(tmp_path) == MADE
    assert MADE.summary == "1 node, 8 CPUs, 2 GPUs (2 × NVIDIA L4)"


@pytest.mark.parametrize("content", ["", "[]", '{"nodes": 3, "waits": ""}', '{"nodes": [{"name": "a"}], "waits": ""}'])
def test_a_damaged_file_means_no_cluster(tmp_path, content):
    (tmp_path / CLUSTER).write_text(content)
    assert read_cluster(tmp_path) is None


def test_the_cluster_of_an_ended_worker_counts_only_if_the_next_worker_joins_it(tmp_path, monkeypatch):
    write_cluster(tmp_path, MADE)
    monkeypatch.delenv(VARIABLE, raising=False)
    assert cluster_for_new_runs(tmp_path) is None
    monkeypatch.setenv(VARIABLE, "--executor ray")
    assert cluster_for_new_runs(tmp_path) == MADE


def test_a_cluster_with_nodes_counts_as_joined(tmp_path):
    assert why_not_joined(tmp_path) == ""
    write_cluster(tmp_path, MADE)
    assert why_not_joined(tmp_path) == ""
    write_cluster(tmp_path, Cluster(waits="There is none."))
    assert why_not_joined(tmp_path) == "There is none."
