"""The vector of a picture: what all pictures share is taken out, padding is no picture, one picture is enough."""

import pytest
import torch

from unreel.models import Captioner, CaptionerConfig, EncoderConfig
from unreel.models.picture import Picture


def test_what_pictures_share_is_taken_out() -> None:
    torch.manual_seed(0)
    picture, own = Picture(6, 4), torch.randn(16, 6)
    torch.testing.assert_close(picture(own + 100), picture(own), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(picture(own).mean(0), torch.zeros(4), rtol=0, atol=1e-6)
    torch.testing.assert_close(picture(own).var(0, correction=0), torch.ones(4), rtol=1e-3, atol=0)


def test_a_single_picture_is_taken_with_the_running_numbers() -> None:
    torch.manual_seed(0)
    picture, own = Picture(6, 4), torch.randn(16, 6)
    picture(own)
    before = {name: value.clone() for name, value in picture.state_dict().items()}
    alone = picture(own[:1])
    assert all(torch.equal(value, before[name]) for name, value in picture.state_dict().items())
    torch.testing.assert_close(alone, picture.eval()(own[:1]))


@pytest.mark.parametrize("form", ["show_and_tell", "encoder_decoder"])
def test_padding_is_no_picture(form: str) -> None:
    torch.manual_seed(0)
    config = CaptionerConfig(
        encoder=EncoderConfig("identity"),
        form=form,  # type: ignore[arg-type]
        embedding_size=8,
        hidden_size=8,
        dropout=0.0,
    )
    model, lengths = Captioner(config, (5,), 7), torch.tensor([6, 3, 4])
    features, words = torch.randn(3, 6, 5), torch.randint(7, (3, 2, 4))
    found = []
    for padding in (0.0, 1000.0):
        features[1, 3:] = features[2, 4:] = padding
        state = {name: value.clone() for name, value in model.state_dict().items()}
        found.append((model.decode(features, lengths, words=words)[0], model.picture.norm.running_mean.clone()))  # type: ignore[union-attr]
        model.load_state_dict(state)
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
