"""The tricks in the Trainer of Hugging Face's Transformers: the optimizer comes from `titrant.loop`.

    pip install transformers accelerate
    python examples/transformers_loop.py

A small BERT, made anew (nothing is downloaded), learns whether the sum of a sequence's digits is even.
"""

import tempfile
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Dataset
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

from titrant import loop
from titrant.surgery import operate


class Sequences(Dataset[dict[str, Tensor]]):
    """Sequences of four tokens; the label is whether a 1 comes before any 2."""

    def __init__(self, count: int, seed: int) -> None:
        self.tokens = torch.randint(0, 5, (count, 6), generator=torch.Generator().manual_seed(seed))
        first = [(self.tokens == token).float().cumsum(1).eq(0).sum(1) for token in (1, 2)]
        self.labels = (first[0] < first[1]).long()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        return {"input_ids": self.tokens[row], "labels": self.labels[row]}


def main(epochs: int = 8, count: int = 2000) -> float:
    """Trains, and returns the accuracy on sequences that were not learned from."""
    torch.manual_seed(0)
    train, test = Sequences(count, 0), Sequences(500, 1)
    config = BertConfig(
        vocab_size=5, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=8, num_labels=2,
    )  # fmt: skip
    model = BertForSequenceClassification(config)
    print(operate(model, dropout={"kind": "bernoulli", "p": 0.05}))

    batch = 64
    steps = epochs * -(-count // batch)
    optimizer = loop.Optimizer(
        model, steps, optimizer="adamw", learning_rate={"peak": 0.003, "warmup": 0.1, "schedule": "cosine"}, clip="norm"
    )
    own_schedule = LambdaLR(optimizer, lambda _: 1.0)  # the Trainer wants one; the optimizer has its own
    with tempfile.TemporaryDirectory() as folder:
        settings: dict[str, Any] = {"output_dir": folder, "report_to": "none", "save_strategy": "no", "use_cpu": True}
        arguments = TrainingArguments(
            num_train_epochs=epochs, per_device_train_batch_size=batch, max_grad_norm=0.0, disable_tqdm=True,
            logging_strategy="no", dataloader_pin_memory=False, **settings,
        )  # fmt: skip
        Trainer(model, arguments, train_dataset=train, optimizers=(optimizer, own_schedule)).train()
    model.eval()
    with torch.no_grad():
        accuracy = (model(input_ids=test.tokens).logits.argmax(1) == test.labels).float().mean().item()
    print(f"accuracy {accuracy:.3f} on {len(test)} new sequences")
    return accuracy


if __name__ == "__main__":
    main()
