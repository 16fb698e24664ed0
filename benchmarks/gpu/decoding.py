"""A Llama of transformers, one token at a time, by work that a CUDA graph can replay: it never waits for the host."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import torch

from worker import DEVICE

THETA = 10_000.0
"""LlamaConfig's own."""


class Decoder:
    """The model's layers over keys and values of a fixed room.

    Args:
        model: A LlamaForCausalLM.
        room: The most tokens of a prompt and its continuation.
    """

    def __init__(self, model: Any, room: int) -> None:
        config, like = model.config, {"dtype": model.lm_head.weight.dtype, "device": DEVICE}
        self._model = model
        self._heads, width = config.num_key_value_heads, config.hidden_size // config.num_attention_heads
        self._shape = (self._heads, config.num_attention_heads // self._heads, width)
        layers = range(config.num_hidden_layers)
        self._keys = [torch.zeros(self._heads, room, width, **like) for _ in layers]
        self._values = [torch.zeros(self._heads, room, width, **like) for _ in layers]
        self._token, self._position, self._next = (torch.zeros(1, dtype=torch.long, device=DEVICE) for _ in range(3))
        self._logits = torch.zeros(config.vocab_size, **like)
        self._places = torch.arange(room, device=DEVICE)
        steps = torch.arange(0, width, 2, device=DEVICE, dtype=torch.float32) / width
        angles = torch.outer(self._places.float(), THETA**-steps).repeat(1, 2)
        self._cos, self._sin = angles.cos().to(**like), angles.sin().to(**like)

    def step(self) -> None:
        """From the token at the position to the one behind it."""
        body = self._model.model
        turn = self._cos.index_select(0, self._position), self._sin.index_select(0, self._position)
        unseen = self._places > self._position
        hidden = body.embed_tokens(self._token)
        for number, layer in enumerate(body.layers):
            hidden = hidden + self._attend(number, layer.self_attn, layer.input_layernorm(hidden), turn, unseen)
            hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
        self._logits.copy_(self._model.lm_head(body.norm(hidden))[0])
        self._next.copy_(self._logits.argmax().unsqueeze(0))

    def _attend(
        self, number: int, layer: Any, hidden: torch.Tensor, turn: tuple[torch.Tensor, torch.Tensor], unseen: torch.Tensor
    ) -> torch.Tensor:
        query = _turned(layer.q_proj(hidden).view(self._shape), turn)
        keys, values = self._keys[number], self._values[number]
        keys.index_copy_(1, self._position, _turned(layer.k_proj(hidden).view(self._heads, 1, -1), turn))
        values.index_copy_(1, self._position, layer.v_proj(hidden).view(self._heads, 1, -1))
        scores = query @ keys.transpose(1, 2) / self._shape[2] ** 0.5
        weights = scores.masked_fill(unseen, float("-inf")).softmax(-1, dtype=torch.float32).to(values.dtype)
        return layer.o_proj((weights @ values).reshape(1, -1))

    def write(self, prompt: Sequence[int], count: int, step: Callable[[], object]) -> dict[str, Any]:
        """So many tokens behind the prompt, the likeliest each, and the digest of the last one's logits.

        Args:
            prompt: Token numbers.
            count: How many are wanted.
            step: `self.step`, or a graph of it.
        """
        found: list[int] = []
        with torch.no_grad():
            for place in range(len(prompt) + count - 1):
                self._token.fill_(prompt[place] if place < len(prompt) else found[-1])
                self._position.fill_(place)
                step()
                if place >= len(prompt) - 1:
                    found.append(int(self._next))
        return {"tokens": found, "logits": hashlib.sha256(self._logits.float().cpu().numpy().tobytes()).hexdigest()}


def _turned(heads: torch.Tensor, turn: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Rotary embedding: halves are turned against each other."""
    cos, sin = turn
    first, second = heads.chunk(2, dim=-1)
    return heads * cos + torch.cat((-second, first), dim=-1) * sin
