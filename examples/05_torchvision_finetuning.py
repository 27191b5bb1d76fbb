"""Fine-tune a torchvision network on images of your own, prune it by channels, and compare."""

import torch
import torchvision
from sklearn.datasets import load_digits
from torch.nn import functional as F

import fairsparse

# Grey 8x8 digits as colour images; a rare class, and whether a digit is drawn thick as its group.
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32)
y = torch.tensor(digits.target)
thick = images.mean((1, 2))
group = (thick > thick.median()).long()
images = F.interpolate(images[:, None], size=(32, 32)).expand(-1, 3, -1, -1)
keep = (y != 9) | (torch.arange(len(y)) % 4 == 0)
images, y, group = images[keep], y[keep], group[keep]
half = len(y) // 2
task = fairsparse.task(
    train=(images[:half], y[:half], group[:half]),
    test=(images[half:], y[half:], group[half:]),
    group_names=("thin", "thick"),
    standardize=True,
    name="digits in colour",
)

# With weights="DEFAULT" torchvision fetches pretrained ones; here they start at random.
torch.manual_seed(0)
model = torchvision.models.resnet18(weights=None)
model.fc = torch.nn.Linear(model.fc.in_features, 10)

result = fairsparse.prune(
    model,
    task,
    "magnitude",
    sparsity=0.5,
    criterion="l1",
    grouping="channel",
    scope="layerwise",
    cells="group",
    training={"epochs": 4, "batch_size": 32, "lr": 0.02},
    lr_factor=0.5,
    resamples=300,
)

gone = [layer for layer in result.record["model"]["layers"] if layer["kept"] < layer["total"]]
print(f"{result.masks.sparsity:.1%} of the weights of {len(gone)} layers are zero")
for cell in result.report["cells"]:
    if cell["name"] not in task.group_names:
        continue
    print(
        f"{cell['name']}: n = {cell['n']}, accuracy {cell['reference']:.3f} ->"
        f" {cell['candidate']:.3f}, drop in [{cell['low']:+.3f}, {cell['high']:+.3f}]"
    )
