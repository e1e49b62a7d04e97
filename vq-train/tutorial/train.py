"""A small VQ-VAE in PyTorch, to be deployed with vq; README.md beside this file tells how.

    python3 train.py PHOTOS/ weights.safetensors

Trains on 32x32 details of the photos in a folder, for about a minute on a CPU.
"""

import random
import sys
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

SIZE, CROPS, STEPS, BATCH = 32, 4000, 2000, 32


class VqVae(nn.Module):
    def __init__(self, codes=128, dim=8):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 24, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(24, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, dim, 1),
        )
        self.codebook = nn.Embedding(codes, dim)
        self.decoder = nn.Sequential(
            nn.Conv2d(dim, 32, 3, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(32, 24, 3, stride=2, padding=1, output_padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(24, 3, 4, stride=2, padding=1),
        )

    def vectors(self, x):
        """The encoder's vectors, [n, h, w, dim]."""
        return self.encoder(x).permute(0, 2, 3, 1)

    def codes(self, z):
        """The nearest code of each vector, [n, h, w]."""
        flat = z.flatten(0, 2)
        return torch.cdist(flat, self.codebook.weight).argmin(1).view(z.shape[:-1])

    def decode(self, codes):
        return self.decoder(self.codebook(codes).permute(0, 3, 1, 2))

    def loss(self, x):
        z = self.vectors(x)
        q = self.codebook(self.codes(z))
        straight = z + (q - z).detach()
        y = self.decoder(straight.permute(0, 3, 1, 2))
        quantisation = F.mse_loss(q, z.detach()) + 0.25 * F.mse_loss(z, q.detach())
        return F.mse_loss(y, x) / x.var() + quantisation


def to_input(pictures):
    """Bytes [n, h, w, 3] to [n, 3, h, w] in -1..1: what `vq import --pixels -1..1` has to know."""
    return pictures.permute(0, 3, 1, 2).float() / 127.5 - 1


def crops(folder, rng):
    """Details of photos, bytes [CROPS, SIZE, SIZE, 3]."""
    kinds = {".jpg", ".jpeg", ".png", ".webp"}
    files = sorted(f for f in Path(folder).rglob("*") if f.suffix.lower() in kinds)
    photos = [Image.open(f).convert("RGB") for f in files]
    details = []
    for _ in range(CROPS):
        photo = rng.choice(photos)
        side = rng.randint(SIZE, min(photo.size))
        left, top = (rng.randint(0, length - side) for length in photo.size)
        detail = photo.resize((SIZE, SIZE), Image.LANCZOS, (left, top, left + side, top + side))
        details.append(torch.frombuffer(bytearray(detail.tobytes()), dtype=torch.uint8))
    return torch.stack(details).view(CROPS, SIZE, SIZE, 3)


def train(folder, steps=STEPS):
    torch.manual_seed(1)
    data = to_input(crops(folder, random.Random(1)))
    model = VqVae()
    with torch.no_grad():  # codes start among the encoder's vectors, so that none is out of reach
        z = model.vectors(data[:256]).flatten(0, 2)
        model.codebook.weight.copy_(z[torch.randperm(len(z))[:128]])
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for step in range(steps):
        loss = model.loss(data[torch.randint(len(data), (BATCH,))])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 100 == 99:
            print(f"step {step + 1}: loss {loss.item():.3f}")
    return model, data


if __name__ == "__main__":
    model, _ = train(sys.argv[1])
    save_file(model.state_dict(), sys.argv[2])
