"""An LSTM under Hugging Face's `generate`: a PreTrainedModel whose cache is the state, which beams reorder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from peers.beam_jobs import Weights


class LSTMConfig(PreTrainedConfig):
    model_type = "lstm-captioner"


class LSTMState:
    """What `generate` takes for a cache of keys and values: (h, c), each (1, rows, H); nothing at the begin."""

    is_compileable = False

    def __init__(self) -> None:
        self.members: tuple[Tensor, Tensor] | None = None
        self.seen = 0

    def get_seq_length(self, layer: int = 0) -> int:
        return self.seen

    def reorder_cache(self, rows: Tensor) -> None:
        assert self.members is not None
        h, c = self.members
        self.members = (h.index_select(1, rows), c.index_select(1, rows))


class LSTMCaptioner(PreTrainedModel, GenerationMixin):
    config_class = LSTMConfig
    main_input_name = "input_ids"

    def __init__(self, config: LSTMConfig, weights: Weights) -> None:
        super().__init__(config)
        words, size, hidden = weights.sizes
        self.picture = nn.Linear(weights.images.shape[1], size)
        self.embedding = nn.Embedding(words, size)
        self.lstm = weights.lstm()
        self.head = nn.Linear(hidden, words)
        weights.fill(self.picture, self.embedding, self.head)

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, past_key_values: LSTMState, features: Tensor, **rest: Any
    ) -> dict[str, Any]:
        return {"input_ids": input_ids[:, -1:], "past_key_values": past_key_values, "features": features}

    def forward(
        self, input_ids: Tensor, past_key_values: LSTMState, features: Tensor, return_dict: bool = True
    ) -> CausalLMOutputWithPast:
        state = past_key_values
        if state.members is None:
            _, state.members = self.lstm(self.picture(features).unsqueeze(1))
        out, state.members = self.lstm(self.embedding(input_ids), state.members)
        state.seen += 1
        return CausalLMOutputWithPast(logits=self.head(out), past_key_values=state)


def writer(weights: Weights) -> Callable[..., tuple[Tensor, Tensor]]:
    """Captions; and, where asked for, their scores, for which `generate` keeps those of all words in all steps."""
    model = LSTMCaptioner(LSTMConfig(vocab_size=weights.sizes[0]), weights).eval()
    begin = torch.zeros(len(weights.images), 1, dtype=torch.int64)

    def write(scored: bool = False) -> tuple[Tensor, Tensor]:
        found = model.generate(
            begin,
            features=weights.images,
            past_key_values=LSTMState(),
            num_beams=weights.beam,
            max_new_tokens=weights.length,
            length_penalty=0.0,
            do_sample=False,
            eos_token_id=0,
            pad_token_id=0,
            return_dict_in_generate=True,
            output_scores=scored,
        )
        return found.sequences[:, 1:], found.sequences_scores

    return write
