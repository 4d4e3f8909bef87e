"""Five fixed sentences with their torch vectors, by which the canary checks a served model."""

from pathlib import Path

import torch

from qasir.manifest import KnownText
from qasir.modeling.backbones import Backbone
from qasir.modeling.retriever import Retriever
from qasir.text import Tokenizer

# Short and long, so that the check covers several padding buckets.
SENTENCES = (
    "snow",
    "a dog runs on the beach",
    "a red car drives through a city at night",
    "two people cook a meal together in a small kitchen",
    "a child opens a present while the family sits around the table, sings and laughs, and an "
    "old man in a blue chair by the window takes a photo of all of them",
)
# Finer than any check, and coarse enough that two machines write the same manifest.
DECIMALS = 4


@torch.inference_mode()
def known_texts(backbone: Backbone, retriever: Retriever, tokenizer: Path) -> tuple[KnownText, ...]:
    """Encode each sentence on its own; `tokenizer` is the folder of `tokenizer.json`."""
    reader = Tokenizer.load(tokenizer, backbone.tokenizer_spec)
    text_tower, text = backbone.text_tower.eval(), retriever.text.eval()
    pairs = []
    for sentence in SENTENCES:
        tokens = reader.encode([sentence])
        ids, mask = torch.from_numpy(tokens.input_ids), torch.from_numpy(tokens.attention_mask)
        vector = text(text_tower(ids, mask))[0].tolist()
        pairs.append(KnownText(text=sentence, vector=tuple(round(x, DECIMALS) for x in vector)))
    return tuple(pairs)
