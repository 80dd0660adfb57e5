import torch

from unreel.models import CNNRNN, CNNRNNConfig, EncoderConfig, summarize


def test_every_layer_stands_there_with_shape_and_parameters():
    config = CNNRNNConfig(encoder=EncoderConfig(channels=(4, 6), features=8, norm="batch"), pool="attention")
    model = CNNRNN(config, (3, 16, 16), 5)
    statistics = {key: value.clone() for key, value in model.state_dict().items()}
    table = summarize(model, (3, 16, 16), T=7)
    for layer in model.modules():
        assert type(layer).__name__ in table
    for piece in ("[7, 4, 16, 16]", "[1, 7, 128]", "[1, 5]", "Trainable"):
        assert piece in table
    assert f"Total params: {sum(p.numel() for p in model.parameters()):,}" in table
    assert all(layer.training for layer in model.modules())
    assert all(torch.equal(statistics[key], value) for key, value in model.state_dict().items())


def test_frozen_layers_are_marked_and_stay_in_eval_mode():
    config = CNNRNNConfig(encoder=EncoderConfig("test_resnet", frozen=True, unfreeze_from="layer4"))
    model = CNNRNN(config, (1, 32, 32), 2)
    modes = [layer.training for layer in model.modules()]
    assert "False" in summarize(model, (1, 32, 32), T=2)
    assert [layer.training for layer in model.modules()] == modes
