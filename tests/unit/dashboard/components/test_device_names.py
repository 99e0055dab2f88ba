"""What a person reads for each device."""

from dashboard.views.new_run import form_widgets


def test_devices_are_named_by_their_gpus():
    assert form_widgets.device_names(["H100"]) == {
        "auto": "auto: cuda:0 (H100)",
        "cpu": "cpu",
        "cuda:0": "cuda:0 (H100)",
    }
    assert form_widgets.device_names([])["auto"] == "auto: cpu; no NVIDIA GPU found"


def test_with_several_gpus_a_run_takes_a_free_one():
    assert form_widgets.device_names(["H100", "T4"]) == {
        "auto": "auto: a free one of 2 GPUs",
        "cpu": "cpu",
        "cuda:0": "cuda:0 (H100)",
        "cuda:1": "cuda:1 (T4)",
    }
