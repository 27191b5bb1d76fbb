"""Prune a Hugging Face text classifier whose inputs are a dict, and see whose texts it loses."""

import random
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import BertConfig, BertForSequenceClassification

import fairsparse

WORDS = {
    "formal": (["excellent", "pleasant"], ["dreadful", "tedious"]),
    "casual": (["dope", "lit"], ["wack", "meh"]),
}
FILLER = ["the", "film", "was", "really", "and", "plot", "too", "we", "found"]
VOCABULARY = ["[PAD]", "[CLS]", *FILLER, *(w for pair in WORDS.values() for p in pair for w in p)]
NUMBER = {word: i for i, word in enumerate(VOCABULARY)}


class Reviews(Dataset[Any]):
    """Made-up reviews, happy or not, some in irony; casual ones are rare and more often ironic."""

    def __init__(self, n: int, seed: int) -> None:
        rng = random.Random(seed)
        self.items = []
        for _ in range(n):
            style = int(rng.random() < 0.2)
            happy = rng.randrange(2)
            irony = rng.random() < (0.05, 0.15)[style]
            telling = WORDS[("formal", "casual")[style]][happy if irony else 1 - happy]
            words = [*rng.choices(FILLER, k=rng.randrange(4, 9)), rng.choice(telling)]
            rng.shuffle(words)
            self.items.append((words, happy, style))

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> tuple[dict[str, torch.Tensor], int, int]:
        words, happy, style = self.items[i]
        ids = [NUMBER[word] for word in ["[CLS]", *words]]
        mask = [1] * len(ids) + [0] * (12 - len(ids))
        ids += [0] * (12 - len(ids))
        x = {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}
        return x, happy, style


task = fairsparse.task(
    train=Reviews(1500, 0),
    test=Reviews(800, 1),
    class_names=("sad", "happy"),
    group_names=("formal", "casual"),
    name="reviews",
)

# A model of yours comes from BertForSequenceClassification.from_pretrained(...).
torch.manual_seed(0)
config = BertConfig(
    vocab_size=len(VOCABULARY),
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=64,
    num_labels=2,
)
result = fairsparse.prune(
    BertForSequenceClassification(config),
    task,
    "ballot",
    sparsity=0.8,
    levels=[0.5],
    cells="group",
    training={"epochs": 4, "batch_size": 32, "lr": 2e-3, "optimizer": "adamw", "warmup": 0.1},
    resamples=300,
)

print(f"{result.masks.sparsity:.1%} of {result.masks.n_total} weights are zero; embeddings stay")
for cell in result.report["cells"]:
    if cell["name"] not in task.group_names:
        continue
    print(
        f"{cell['name']}: n = {cell['n']}, accuracy {cell['reference']:.3f} ->"
        f" {cell['candidate']:.3f}, drop in [{cell['low']:+.3f}, {cell['high']:+.3f}]"
    )
